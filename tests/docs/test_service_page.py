"""The page on the service names metrics, files and options that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "service.md").read_text(encoding="utf-8")
SERVICE = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "sal_service").rglob("*.py"))


def test_metrics_are_those_of_the_service() -> None:
    named = set(re.findall(r"`(sal_[a-z_]+?)(?:_total)?(?:\{[a-z,]+\})?`", PAGE))
    assert len(named) > 12
    declared = set(re.findall(r'"(sal_[a-z_]+)"', SERVICE))
    assert named <= declared


@pytest.mark.parametrize(
    "name", ["audit.jsonl", "tokens.toml", "policy.toml", "cameras.json", "watches.sqlite", "webhook.key"]
)
def test_files_of_the_state_are_those_of_the_service(name: str) -> None:
    assert f"| `{name}` |" in PAGE
    everything = SERVICE + (REPOSITORY / "sal_cli" / "serving.py").read_text(encoding="utf-8")
    assert f'"{name}"' in everything


def test_what_the_page_installs_is_there() -> None:
    for name in re.findall(r"\b(?:deploy|scripts)/[\w./-]+\w", PAGE):
        assert (REPOSITORY / name).exists(), name
    for name in re.findall(r"/etc/sal/(\w+\.toml)", PAGE):
        assert name in {"policy.toml", "cameras.toml"}
