"""Encoding a gallery anew takes what is not named from the gallery, and an error points to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sal_runtime.gallery.gallery import Gallery
from tests.command_line import check_one_error, run_sal
from tests.runtime.gallery_images import make_folder
from tests.runtime.varied_bundle import make_varied_bundle

Capsys = pytest.CaptureFixture[str]


def test_only_the_precision_of_a_gallery_changes(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SAL_BUNDLE", raising=False)
    bundle = make_varied_bundle(tmp_path / "mine", precisions=("int8",))
    folder = make_folder(tmp_path / "crops")
    assert run_sal(capsys, "gallery", "add", folder, "--bundle", bundle.path)[0] == 0
    asked = ("search", "-a", "male", "-g", folder, "--precision", "int8")
    check_one_error(run_sal(capsys, *asked), 2, "`sal gallery reindex --precision`")
    check_one_error(run_sal(capsys, "gallery", "reindex", folder), 2, "in fp32 already; nothing to do")
    code, out, _ = run_sal(capsys, "gallery", "reindex", folder, "--precision", "int8")
    assert (code, out) == (0, "6 encoded, 0 encoded before, 0 dropped\n")
    with Gallery.open(tmp_path / "crops.sal") as gallery:
        assert (gallery.precision, gallery.fingerprint) == ("int8", bundle.fingerprint)
    assert run_sal(capsys, *asked)[0] == 0
