"""A folder of frames."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from sal_runtime.errors import InputError
from sal_runtime.images.folder import IMAGE_SUFFIXES
from sal_runtime.images.pixels import decode_image, import_opencv, read_file
from sal_service.video.frame import Frame
from sal_service.video.sources.settings import SourceSettings

DAMAGED = "frames that could not be read"
_NUMBER = re.compile(r"(\d+)")


class FrameFolder:
    """The images of a folder as frames, by their names; numbers in names count as numbers, so 2 is before 10.

    Args:
        path: the folder; folders in it are not read.
        settings: `frame_rate` and `started_at` are used.

    Raises:
        InputError: it holds no images, or the times of the files do not increase and no `frame_rate` is given.
    """

    is_live = False

    def __init__(self, path: Path, settings: SourceSettings) -> None:
        self.title = str(path)
        self.troubles = Counter[str]()
        self._is_closed = False
        names = [entry.name for entry in os.scandir(path) if _is_image(entry)]
        if not names:
            raise InputError(f"{path}: holds no JPEG, PNG, WebP or BMP images; folders in it are not searched")
        self._paths = [path / name for name in sorted(names, key=_by_number)]
        self._moments = _moments(path, self._paths, settings)
        self.num_frames: int | None = len(self._paths)

    def frames(self) -> Iterator[Frame]:
        """As the protocol has it; files that cannot be decoded are counted as trouble."""
        cv2 = import_opencv()
        for position, (path, moment) in enumerate(zip(self._paths, self._moments, strict=True)):
            if self._is_closed:
                return
            try:
                image = decode_image(read_file(path)[0])
            except (OSError, InputError):
                self.troubles[DAMAGED] += 1
                continue
            yield Frame(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), moment, position, "file")

    def close(self) -> None:
        """As the protocol has it."""
        self._is_closed = True


def _is_image(entry: os.DirEntry[str]) -> bool:
    return os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES and entry.is_file()


def _by_number(name: str) -> list[str | tuple[int, str]]:
    """A key that sorts names by the texts and the numbers in them, in turn."""
    return [(int(part), part) if number else part for number, part in _parts(name)]


def _parts(name: str) -> Iterator[tuple[bool, str]]:
    return ((bool(index % 2), part) for index, part in enumerate(_NUMBER.split(name)))


def _moments(folder: Path, paths: list[Path], settings: SourceSettings) -> list[float]:
    modified = [path.stat().st_mtime for path in paths]
    start = settings.started_at
    if settings.frame_rate is not None:
        first = modified[0] if start is None else start
        return [first + number / settings.frame_rate for number in range(len(paths))]
    if any(after <= before for before, after in pairwise(modified)):
        raise InputError(
            f"{folder}: the files are not younger one after the other in the order of their names, so their times are "
            "not those of the frames; give the frames a second",
            parameter="frame_rate",
        )
    return modified if start is None else [moment - modified[0] + start for moment in modified]
