"""`sal data check` finds what was put there, and nothing else."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from sal_train.datasets.check import CheckReport, check_dataset, print_check
from sal_train.datasets.splits import SearchDataset, seen_categories, split_from_rows
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


def table(folder: Path, header: str, *rows: str) -> SearchDataset:
    """Rows of a table; `#` stands for the number of the row, and every image is the same small picture."""
    cv2.imwrite(str(folder / "a.jpg"), np.full((64, 32, 3), 128, np.uint8))
    lines = [row.replace("#", str(number)) for number, row in enumerate(rows)]
    (folder / "people.csv").write_text("\n".join([f"image,{header}", *(f"a.jpg,{line}" for line in lines)]))
    return load_table(folder)


def test_words_of_few_people_are_found(tmp_path: Path) -> None:
    """Thirty people wear a hat, each on two images; three people carry a bag, on twenty images each."""
    hats = [f"{person},train,{person % 2},0" for person in range(60) for _ in range(2)]
    bags = [f"{person},train,0,1" for person in range(60, 63) for _ in range(20)]
    report = check_dataset(table(tmp_path, "identity,split,hat,bag", *hats, *bags, "99,test,1,1"), silent())
    (rare,) = [finding for finding in report.findings if "hardly to be learned" in finding.what]
    assert rare.examples == ("bag=bag: 3",)
    assert not report.has_errors


@pytest.mark.parametrize(
    ("values", "finding", "example"),
    [
        (("1", "0", "2"), "attributes of yes and no with another value (a typo?)", "hat: 0, 1, 2"),
        (("yes", "no", "unknown"), "attributes of yes and no with another value (a typo?)", "hat: no, unknown, yes"),
        (("31", "44", "28.5"), "attributes whose words are numbers (name classes instead)", "hat: 28.5, 31, 44"),
        (("1", "2", "3"), "attributes whose words are numbers (name classes instead)", "hat: 1, 2, 3"),
        (("red", "no", "blue"), "attributes of yes and no with another value (a typo?)", "hat: blue, no, red"),
        (
            ("red", "blue", "unknown"),
            "words that say nothing, learned like any other (leave the cell empty?)",
            "hat=unknown",
        ),
        (
            ("red", "blue", "red;blue"),
            "words that hold several values (an attribute has one at a time)",
            "hat=red;blue",
        ),
        (
            (*["blue"] * 10, "bleu", "red"),
            "rare words that are spelled like a frequent one (a typo?)",
            "hat=bleu: 2, beside blue: 20",
        ),
    ],
)
def test_words_that_look_like_a_mistake_are_found(
    tmp_path: Path, values: tuple[str, ...], finding: str, example: str
) -> None:
    rows = [f"#,{split},{value}" for split in ("train", "test") for value in values]
    report = check_dataset(table(tmp_path, "identity,split,hat", *rows), silent())
    (found_one,) = [one for one in report.findings if one.what == finding]
    assert (found_one.severity, found_one.examples) == ("warning", (example,))
    plain = check_dataset(table(tmp_path, "identity,split,hat", "1,train,1", "2,test,0"), silent())
    assert finding not in found(plain)


def test_people_whose_names_are_written_in_two_ways_are_found(tmp_path: Path) -> None:
    report = check_dataset(
        table(tmp_path, "identity,split,hat", "P 1,train,1", "p_1,test,1", "p2,train,0", "p3,test,0"), silent()
    )
    (finding,) = [one for one in report.findings if "differ only in capitals" in one.what]
    assert finding.examples == ("P 1 = p_1",)


def test_a_protocol_that_says_little_is_found(tmp_path: Path) -> None:
    rows = ["train,1,0", "train,1,0", "train,0,0", "test,1,1", "test,1,1"]
    report = check_dataset(table(tmp_path, "split,hat,bag", *rows), silent())
    assert found(report)["images of unknown people, who may be in both splits"] == 5
    assert found(report)["training categories of one image"] == 1
    assert found(report)["test categories, none of them seen in training"] == 1
    whole = ["1,train,1,0", "1,train,1,0", "2,train,0,0", "2,train,0,0", "3,test,1,0"]
    counts = found(check_dataset(table(tmp_path, "identity,split,hat,bag", *whole), silent()))
    assert not [what for what in counts if "unknown people" in what or "categor" in what]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("Female", ("1", "0")),
        ("Skin Tone", ("light", "dark")),
        ("hijab", ("yes", "no")),
        ("AgeOver60", ("1", "0")),
        ("Age18-60", ("1", "0")),
        ("personalLess30", ("1", "0")),
        ("is_male", ("1", "0")),
        ("who", ("woman", "man")),
        ("Geschlecht", ("w", "m")),
        ("Hautfarbe", ("hell", "dunkel")),
        ("quien", ("hombre", "mujer")),
        ("性别", ("男", "女")),
        ("class", ("young", "middle", "old")),
        ("Ethnic_group", ("a", "b")),
        ("religious-symbol", ("a", "b")),
        ("wheelchair", ("1", "0")),
    ],
)
def test_sensitive_columns_are_found_by_their_meaning(tmp_path: Path, column: str, values: tuple[str, ...]) -> None:
    rows = [f"{split},{value},{number % 2}" for split in ("train", "test") for number, value in enumerate(values)]
    report = check_dataset(table(tmp_path, f"split,{column},bag", *rows), silent())
    assert report.not_sensitive == ("bag",)
    assert len(report.sensitive) == 1
    text = io.StringIO()
    print_check(report, Console(file=text, width=80))
    assert f"marked as sensitive: {report.sensitive[0]}\nnot marked: bag\n" in text.getvalue()


@pytest.mark.parametrize(
    "column", ["handbag", "package", "message", "umanned", "sleeve", "emanation", "long-hair", "boots", "sweater"]
)
def test_columns_that_only_look_sensitive_are_not_marked(tmp_path: Path, column: str) -> None:
    report = check_dataset(table(tmp_path, f"split,{column}", "train,1", "test,0"), silent())
    assert report.sensitive == ()


def test_pipes_and_names_that_are_none_are_findings(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    rows = [{"image": "pipe.jpg", "split": "train", "hat": 1}, {"image": "a\0.jpg", "split": "test", "hat": 0}]
    (tmp_path / "people.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (broken,) = [one for one in check_dataset(load_table(tmp_path), silent()).findings if one.severity == "error"]
    assert broken.count == 2
    assert broken.examples[0].endswith("pipe.jpg: is not a file")
    text = io.StringIO()
    print_check(check_dataset(load_table(tmp_path), silent()), Console(file=text, width=80))
    shown = broken.examples[-1].replace("\0", "\\x00")
    assert text.getvalue().splitlines()[-1] == f"    {shown}"  # errors are printed last
    assert "not the name of a file" in broken.examples[1]
