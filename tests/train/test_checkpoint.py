"""Files of a run appear whole: writers of the same path do not disturb each other, and a failed one leaves nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from sal_train.checkpoint import read_tensors, write_tensors, write_text


def test_writers_of_one_path_do_not_disturb_each_other(tmp_path: Path) -> None:
    texts = [str(number) * 200_000 for number in range(8)]
    tensors = [torch.full((50_000,), float(number)) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_text(tmp_path / "data.json", text), texts))
        list(pool.map(lambda tensor: write_tensors(tmp_path / "model", {"x": tensor}, {}), tensors))
    assert (tmp_path / "data.json").read_text() in texts
    (written,) = read_tensors(tmp_path / "model")[0].values()
    assert any(torch.equal(written, tensor) for tensor in tensors)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.json", "model"]


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "data.json", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "data.json", "\udc80")
    assert (tmp_path / "data.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["data.json"]
