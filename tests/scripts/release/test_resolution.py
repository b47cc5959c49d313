"""Which combinations have to resolve; whether they do, `make resolve` asks the index."""

from __future__ import annotations

import tomllib

from scripts.release.resolution import ALONE, LEFT_OUT, REPOSITORY, cases


def test_every_extra_is_tried_on_every_python_or_left_out_for_a_reason() -> None:
    described = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(described["optional-dependencies"])
    tried = {(case.python, case.versions, extra) for case in cases() for extra in case.extras}
    pythons = ("3.11", "3.12", "3.13")
    expected = extras - LEFT_OUT.keys()
    assert tried == {(python, which, one) for python in pythons for which in ("lowest", "newest") for one in expected}
    for case in cases():
        assert not set(case.extras) & LEFT_OUT.keys()
        assert len(case.extras) == 1 or not set(case.extras) & set(ALONE)
    arm = {case.python for case in cases() if case.platform.startswith("aarch64") and "cpu" in case.extras}
    assert arm == set(pythons)
