"""Small pictures of hits."""

from __future__ import annotations

import os
from pathlib import Path

from sal_cli.show.thumbnails import load_thumbnail


def test_a_pipe_or_a_device_in_place_of_an_image_has_no_thumbnail(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", Path("/dev/zero"), Path("a\0b.jpg")):
        assert load_thumbnail(path, 8, 8) is None
