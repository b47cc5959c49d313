"""`sal data check` finds what was put there, and nothing else."""

from __future__ import annotations

import dataclasses
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from sal_train.datasets.check import CheckReport, check_dataset, print_check
from sal_train.datasets.splits import seen_categories, split_from_rows
from sal_train.datasets.stats import dataset_statistics, print_dataset_statistics
from sal_train.datasets.synthetic import SCHEMA, write_dataset
from sal_train.datasets.table import load_table


def silent() -> Console:
    return Console(file=io.StringIO(), width=80)


def found(report: CheckReport) -> dict[str, int]:
    return {finding.what: finding.count for finding in report.findings}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "drawn", num_people=60, images_per_person=2, seed=1).parent


def test_a_whole_data_set_has_no_errors(folder: Path) -> None:
    report = check_dataset(load_table(folder), silent())
    assert not report.has_errors
    assert report.num_images == 120
    assert report.statistics["train_images"] + report.statistics["test_images"] == 120
    assert report.statistics["train_identities"] == 42


def test_missing_and_broken_images_are_errors(folder: Path) -> None:
    images = sorted((folder / "images").iterdir())
    images[0].unlink()
    images[1].write_bytes(images[1].read_bytes()[:600])
    images[2].write_text("<html>404</html>")
    report = check_dataset(load_table(folder), silent())
    assert report.has_errors
    assert found(report)["images missing or broken"] == 3
    named = " ".join(next(finding for finding in report.findings if finding.severity == "error").examples)
    assert all(image.name in named for image in images[:3])


def test_the_same_image_with_other_labels_or_on_both_sides_is_found(folder: Path) -> None:
    data = load_table(folder)
    source, same_side = data.train.image_paths[0], data.train.image_paths[-1]
    assert (data.train.attributes[0] != data.train.attributes[-1]).any()
    shutil.copyfile(source, same_side)
    shutil.copyfile(source, data.test.image_paths[0])
    counts = found(check_dataset(data, silent()))
    assert counts["images in training and test alike (same bytes)"] == 1
    assert counts["copies of an image with different attributes"] == 1
    assert counts["images that occur more than once (same bytes)"] == 1


def test_labels_that_contradict_themselves_and_people_on_both_sides_are_found(folder: Path) -> None:
    data = load_table(folder)
    attributes = data.train.attributes.copy()
    attributes[:, SCHEMA.bit_names.index("hat")] = 0
    attributes[:, SCHEMA.bit_names.index("bag")] = 1
    attributes[0, SCHEMA.bit_names.index("upper-colour=red")] = 1
    attributes[0, SCHEMA.bit_names.index("upper-colour=blue")] = 1
    identities = list(data.train.identities)
    identities[3] = data.test.identities[0]
    train = split_from_rows(list(data.train.image_paths), attributes, identities)
    broken = dataclasses.replace(data, train=train, seen=seen_categories(train, data.test))
    report = check_dataset(broken, silent())
    counts = found(report)
    assert counts["contradictory labels (bits that fit no state of a group)"] == 1
    assert counts["attributes every training image has"] == 1
    assert counts["attributes no training image has"] == (attributes.sum(axis=0) == 0).sum()
    assert counts["people in training and test alike"] == 1
    assert counts["people whose images have different attributes"] == 1
    assert report.has_errors


def test_reports_fit_eighty_columns_and_name_what_they_count(folder: Path) -> None:
    data = load_table(folder)
    (folder / "images/0001_00.jpg").unlink()
    text = io.StringIO()
    print_check(check_dataset(data, silent()), Console(file=text, width=80))
    lines = [line for line in text.getvalue().splitlines() if not line.startswith("    ")]  # examples are never cut
    assert max(map(len, lines)) <= 80
    assert "error: images missing or broken: 1" in text.getvalue()
    assert "0001_00.jpg" in text.getvalue()


def test_statistics_are_the_means_of_the_labels(folder: Path) -> None:
    data = load_table(folder)
    report = dataset_statistics(data)
    bit = SCHEMA.bit_names.index("backpack")
    assert report["attributes"]["backpack"]["train"] == pytest.approx(np.mean(data.train.attributes[:, bit]))
    assert report["attributes"]["backpack"]["test"] == pytest.approx(np.mean(data.test.attributes[:, bit]))
    largest = report["largest_categories"][0]
    rows = (data.train.attributes == data.train.attributes[:, None]).all(axis=2).sum(axis=1)
    assert largest["images"] == rows.max()
    # a tree over all groups has one edge fewer than groups
    assert len(report["strongest_dependencies"]) == len(SCHEMA.groups) - 1
    text = io.StringIO()
    print_dataset_statistics(report, Console(file=text, width=80))
    assert "upper-colour=yellow" in text.getvalue()
