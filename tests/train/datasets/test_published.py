"""Market-1501 and PETA as they are published, against facts counted without the loaders; changed data is refused."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from sal_runtime.errors import InputError
from sal_train.datasets.load import load_dataset
from sal_train.datasets.market1501 import load_market1501
from sal_train.datasets.peta import load_peta


def test_market_protocol(market1501_root: Path) -> None:
    data = load_dataset("market1501", market1501_root.parent)
    assert (len(data.train.image_paths), len(data.test.image_paths)) == (12_936, 16_483)
    assert (data.train.num_categories, data.test.num_categories) == (508, 484)
    assert int((~data.seen).sum()) == 315
    assert data.schema.num_bits == 30
    names = {path.name for path in data.test.image_paths}
    assert len(names) == 16_483
    assert not any(name.startswith(("-1", "0000")) for name in names)


def test_market_labels_are_those_of_the_mat_file(market1501_root: Path) -> None:
    """Read without names of fields in order: each identity's value is looked up in the raw struct."""
    data = load_market1501(market1501_root)
    path = market1501_root / "attribute" / "market_attribute.mat"
    raw = loadmat(path, squeeze_me=True, struct_as_record=False)["market_attribute"]
    bit = data.schema.bit_names.index
    for split, table in ((data.train, raw.train), (data.test, raw.test)):
        position = {str(identity): index for index, identity in enumerate(table.image_index)}
        rng = np.random.default_rng(0)
        for row in rng.choice(len(split.image_paths), 200, replace=False):
            at = position[split.image_paths[row].name[:4]]
            labels = split.attributes[row]
            assert labels[bit("female")] == table.gender[at] - 1
            assert labels[bit("backpack")] == table.backpack[at] - 1
            assert labels[bit("hat")] == table.hat[at] - 1
            assert labels[bit("upper-colour=red")] == table.upred[at] - 1
            assert labels[bit("lower-colour=brown")] == table.downbrown[at] - 1
            assert labels[table.age[at] - 1] == 1
            assert labels[:4].sum() == 1


def test_market_with_a_missing_image_is_refused(market1501_root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "Market-1501"
    shutil.copytree(market1501_root, copy, copy_function=lambda source, target: Path(target).symlink_to(source))
    next((copy / "bounding_box_train").glob("*.jpg")).unlink()
    with pytest.raises(InputError, match=r"12935.*expected 12936"):
        load_market1501(copy)


def test_peta_protocol(peta_root: Path) -> None:
    data = load_dataset("peta", peta_root.parent)
    assert (len(data.train.image_paths), len(data.test.image_paths)) == (11_886, 1_435)
    assert (data.train.num_categories, data.test.num_categories) == (1_890, 200)
    assert not data.seen.any()
    assert data.schema.num_bits == 105
    # no identity on both sides
    assert not set(data.train.identities) & set(data.test.identities)


def test_peta_labels_are_those_of_the_mat_file(peta_root: Path) -> None:
    data = load_peta(peta_root)
    raw = loadmat(peta_root / "PETA.mat", squeeze_me=True, struct_as_record=False)["peta"]
    table = np.asarray(raw.data)
    for split in (data.train, data.test):
        rows = [int(path.stem) - 1 for path in split.image_paths]
        np.testing.assert_array_equal(split.attributes.sum(axis=1), (table[rows, 4:] == 1).sum(axis=1))


def link_peta(source: Path, target: Path, data: np.ndarray | None = None) -> Path:
    """PETA with links to the images, and with another table if `data` is given."""
    target.mkdir()
    (target / "images").symlink_to(source / "images")
    if data is None:
        (target / "PETA.mat").symlink_to(source / "PETA.mat")
    else:
        names = loadmat(source / "PETA.mat", squeeze_me=True, struct_as_record=False)["peta"].attribute
        savemat(target / "PETA.mat", {"peta": {"attribute": names, "data": data}})
    return target


def test_peta_with_other_rows_is_refused(peta_root: Path, tmp_path: Path) -> None:
    data = loadmat(peta_root / "PETA.mat", squeeze_me=True, struct_as_record=False)["peta"].data
    assert len(load_peta(link_peta(peta_root, tmp_path / "same", data)).test.image_paths) == 1_435
    with pytest.raises(InputError, match="test ids, sha256"):
        load_peta(link_peta(peta_root, tmp_path / "reversed", data[::-1]))
    with pytest.raises(InputError, match=r"shape.*19000, 109"):
        load_peta(link_peta(peta_root, tmp_path / "fewer", data[:-1]))


def test_peta_in_its_published_folders(peta_root: Path, tmp_path: Path) -> None:
    """One folder for each subset, as the archive unpacks, names the same images in the same order."""
    by_number = load_peta(peta_root)
    folder = tmp_path / "PETA"
    folder.mkdir()
    for name in ("PETA.mat", "index_to_file.csv"):
        (folder / name).symlink_to(peta_root / name)
    numbered = {int(path.stem): path for path in (peta_root / "images").iterdir()}
    with (peta_root / "index_to_file.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            place = folder / row["subset"] / "archive" / row["file"]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(numbered[int(row["index"])])
    published = load_peta(folder)
    assert [path.resolve() for path in published.test.image_paths] == [
        path.resolve() for path in by_number.test.image_paths
    ]
    of_protocol = {path.resolve() for path in (*published.train.image_paths, *published.test.image_paths)}
    for path in folder.rglob("archive/*"):
        if path.resolve() not in of_protocol:
            path.unlink()  # what the protocol drops is not asked for
    assert load_peta(folder).train.image_paths == published.train.image_paths
    published.train.image_paths[7].unlink()
    with pytest.raises(InputError, match="1 of 11886 images are missing"):
        load_peta(folder)
