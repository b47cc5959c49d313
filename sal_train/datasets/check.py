"""`sal data check`: finds the faults of a data set before training does."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from sal_runtime.arrays import UInt8Array
from sal_runtime.errors import InputError
from sal_runtime.images.pixels import decode_image, read_file
from sal_runtime.query.schema import Group, normalise_word
from sal_train.datasets.columns import NUMBERS_YES_NO, YES_NO, is_number
from sal_train.datasets.splits import SearchDataset, Split, describe, people_on_both_sides, possible_states

SMALLEST_HEIGHT = 32
"""Pixels; a smaller image shows hardly any attribute."""

FEWEST_PEOPLE = 24
"""People (images where people are unknown) with an attribute below which it will hardly be learned: two dozen."""

UNKNOWN_WORDS = {"unknown", "unk", "undefined", "uncertain", "unclear", "unsure", "unlabeled", "unlabelled", "other"}
SEVERAL = re.compile(r"\w\s*[;+&/]\s*\w|-and-")
SIMILAR = 0.74
"""Share of equal letters from which two words are spelled alike: `bleu` and `blue`, not `male` and `female`."""
FREQUENT = 5
"""A word is frequent beside another if it has this many times its images."""


@dataclass(frozen=True)
class Finding:
    """One kind of fault, and where it occurs.

    Attributes:
        severity: `error` (training would fail or be wrong) or `warning` (a person should know).
        what: kind of fault, a few words.
        count: number of images, attributes or people concerned.
        examples: the first few of them.
    """

    severity: str
    what: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class CheckReport:
    """All findings about a data set.

    Attributes:
        name: of the data set.
        num_images: of both splits.
        findings: kinds of fault that occur.
        notes: of the loader.
        statistics: counts of images, people and categories, from `category_statistics`.
        sensitive: groups that are marked as sensitive.
        not_sensitive: all others.
    """

    name: str
    num_images: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    statistics: dict[str, int]
    sensitive: tuple[str, ...]
    not_sensitive: tuple[str, ...]

    @property
    def has_errors(self) -> bool:
        """Whether training on this data would fail or be wrong."""
        return any(finding.severity == "error" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON, with `ok`: no errors."""
        return {**asdict(self), "ok": not self.has_errors}


@dataclass(frozen=True)
class _ImageState:
    """Result of reading one file: a failure, or height and hash of the image."""

    failure: str | None
    height: int = 0
    digest: bytes = b""


def check_dataset(dataset: SearchDataset, console: Console) -> CheckReport:
    """Decode every image and look for unreadable files, leaks, and labels that training cannot learn from.

    Args:
        dataset: as loaded; the loader has checked its protocol.
        console: for a progress bar; standard error.
    """
    splits = {"train": dataset.train, "test": dataset.test}
    states = {name: _image_states(split.image_paths, console) for name, split in splits.items()}
    findings = [
        *_image_findings(splits, states),
        *_duplicate_findings(splits, states),
        *_label_findings(dataset),
        *_word_findings(dataset),
        *_protocol_findings(dataset),
    ]
    return CheckReport(
        dataset.name,
        sum(len(split.image_paths) for split in splits.values()),
        tuple(finding for finding in findings if finding.count),
        dataset.notes,
        category_statistics(dataset),
        tuple(group.name for group in dataset.schema.groups if group.sensitive),
        tuple(group.name for group in dataset.schema.groups if not group.sensitive),
    )


def category_statistics(dataset: SearchDataset) -> dict[str, int]:
    """Counts of images, categories and people in both splits."""
    counts = {}
    for name, split in (("train", dataset.train), ("test", dataset.test)):
        sizes = np.bincount(split.categories)
        counts[f"{name}_images"] = len(split.image_paths)
        counts[f"{name}_identities"] = len(set(split.identities) - {""})
        counts[f"{name}_categories"] = split.num_categories
        counts[f"{name}_categories_of_one_image"] = int((sizes == 1).sum())
        counts[f"{name}_largest_category"] = int(sizes.max())
    counts["test_categories_unseen"] = int((~dataset.seen).sum())
    return counts


def _image_states(paths: Sequence[Path], console: Console) -> list[_ImageState]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        states = pool.map(_image_state, paths)
        return list(track(states, "reading images", len(paths), console=console, disable=not console.is_terminal))


def _image_state(path: Path) -> _ImageState:
    try:
        data, _ = read_file(path)
        image = decode_image(data)
    except OSError as error:
        return _ImageState(error.strerror or str(error))
    except InputError as error:
        return _ImageState(str(error))
    return _ImageState(None, image.shape[0], hashlib.blake2b(data, digest_size=16).digest())


def _image_findings(splits: dict[str, Split], states: dict[str, list[_ImageState]]) -> list[Finding]:
    unreadable, small = [], []
    for name, split in splits.items():
        for path, state in zip(split.image_paths, states[name], strict=True):
            if state.failure is not None:
                unreadable.append(f"{path}: {state.failure}")
            elif state.height < SMALLEST_HEIGHT:
                small.append(f"{path}: {state.height} pixels high")
    return [
        _finding("error", "images missing or broken", unreadable),
        _finding("warning", f"images less than {SMALLEST_HEIGHT} pixels high", small),
    ]


def _duplicate_findings(splits: dict[str, Split], states: dict[str, list[_ImageState]]) -> list[Finding]:
    """Files with the same bytes: copies, copies with other labels, copies on both sides of the protocol."""
    places: dict[bytes, list[tuple[str, int]]] = defaultdict(list)
    for name in splits:
        for row, state in enumerate(states[name]):
            if state.failure is None:
                places[state.digest].append((name, row))
    leaks, contradictions, copies = [], [], []
    for equal_files in places.values():
        if len(equal_files) == 1:
            continue
        text = " = ".join(str(splits[name].image_paths[row]) for name, row in equal_files)
        labels = {splits[name].attributes[row].tobytes() for name, row in equal_files}
        if len({name for name, _ in equal_files}) == 2:
            leaks.append(text)
        if len(labels) > 1:
            contradictions.append(text)
        copies.append(text)
    return [
        _finding("warning", "images in training and test alike (same bytes)", leaks),
        _finding("warning", "copies of an image with different attributes", contradictions),
        _finding("warning", "images that occur more than once (same bytes)", copies),
    ]


def _label_findings(dataset: SearchDataset) -> list[Finding]:
    names = dataset.schema.bit_names
    share = dataset.train.labels.shares()
    never = [names[bit] for bit in np.flatnonzero(share == 0)]
    always = [names[bit] for bit in np.flatnonzero(share == 1)]
    return [
        _finding("warning", "attributes no training image has", never),
        _finding("warning", "attributes every training image has", always),
        _finding("warning", f"words of fewer than {FEWEST_PEOPLE} people, hardly to be learned", _rare_words(dataset)),
        _finding("warning", "contradictory labels (bits that fit no state of a group)", _contradictions(dataset)),
        _finding("warning", "people whose images have different attributes", _changing_people(dataset.train)),
    ]


def _rare_words(dataset: SearchDataset) -> list[str]:
    """Words that training shows of few people, and of how many."""
    split = dataset.train
    own, known = split.attributes[: split.num_own], split.known[: split.num_own]
    people = [identity or row for row, identity in enumerate(split.identities[: split.num_own])]
    rare = []
    for group in dataset.schema.groups:
        for state in group.states:
            if state.bit is None and group.kind == "exclusive":
                continue
            bit = group.bits[0] if state.bit is None else state.bit
            has_it = known[:, bit] & (own[:, bit] == int(state.bit is not None))
            count = len({people[row] for row in np.flatnonzero(has_it)})
            if 0 < count < FEWEST_PEOPLE:
                rare.append(f"{group.name}={state.name}: {count}")
    return rare


def _word_findings(dataset: SearchDataset) -> list[Finding]:
    """Groups whose words look like a mistake in the table."""
    mixed, numbers, unknown, several, near = [], [], [], [], []
    for group in dataset.schema.groups:
        words = [state.name for state in group.states]
        text = f"{group.name}: {', '.join(words)}"
        said = {word for word in words if word in YES_NO}
        if group.kind == "exclusive" and (said - NUMBERS_YES_NO.keys() or {YES_NO[word] for word in said} == {0, 1}):
            mixed.append(text)
        elif any(is_number(word) for word in words):
            numbers.append(text)
        unknown += [f"{group.name}={word}" for word in words if word in UNKNOWN_WORDS]
        several += [f"{group.name}={word}" for word in words if SEVERAL.search(word)]
        near += _near_words(dataset, group)
    return [
        _finding("warning", "attributes of yes and no with another value (a typo?)", mixed),
        _finding("warning", "attributes whose words are numbers (name classes instead)", numbers),
        _finding("warning", "words that say nothing, learned like any other (leave the cell empty?)", unknown),
        _finding("warning", "words that hold several values (an attribute has one at a time)", several),
        _finding("warning", "rare words that are spelled like a frequent one (a typo?)", near),
    ]


def _near_words(dataset: SearchDataset, group: Group) -> list[str]:
    """Words of a group that few images have, beside the more frequent word they resemble."""
    rows = np.concatenate([dataset.train.attributes[: dataset.train.num_own], dataset.test.attributes])
    counts = {state.name: int(rows[:, state.bit].sum()) for state in group.states if state.bit is not None}
    near = []
    for word, count in counts.items() if group.kind == "exclusive" else ():
        frequent = [other for other, images in counts.items() if images >= FREQUENT * max(1, count)]
        if match := get_close_matches(word, frequent, 1, SIMILAR):
            near.append(f"{group.name}={word}: {count}, beside {match[0]}: {counts[match[0]]}")
    return near


def _protocol_findings(dataset: SearchDataset) -> list[Finding]:
    """What makes results on the test split say less than they seem to."""
    train = dataset.train
    sizes = np.bincount(train.categories)
    _, first_rows = np.unique(train.categories, return_index=True)
    single = [str(train.image_paths[first_rows[category]]) for category in np.flatnonzero(sizes == 1)]
    splits = (train, dataset.test)
    unknown = [
        str(path)
        for split in splits
        for path, identity in zip(split.image_paths, split.identities, strict=True)
        if not identity
    ]
    unseen = [
        ", ".join(describe(dataset.schema, vector, known)) or "none of the attributes"
        for vector, known in zip(dataset.test.category_vectors, dataset.test.category_known, strict=True)
    ]
    return [
        _finding("error", "people in training and test alike", people_on_both_sides(dataset)),
        _finding("warning", "people whose names differ only in capitals or blanks", _similar_names(splits)),
        _finding("warning", "images of unknown people, who may be in both splits", unknown),
        _finding("warning", "training categories of one image", single),
        _finding("warning", "test categories, none of them seen in training", [] if dataset.seen.any() else unseen),
    ]


def _similar_names(splits: Sequence[Split]) -> list[str]:
    spellings: dict[str, set[str]] = defaultdict(set)
    for split in splits:
        for identity in split.identities:
            spellings[normalise_word(identity)].add(identity)
    return [" = ".join(sorted(names)) for names in spellings.values() if len(names) > 1]


def _contradictions(dataset: SearchDataset) -> list[str]:
    contradictions = []
    for split in (dataset.train, dataset.test):
        possible = possible_states(dataset.schema, split.attributes, split.known)
        contradictory = np.stack([~allowed.any(axis=1) for allowed in possible], axis=1)
        for row, group in np.argwhere(contradictory):
            set_bits = [dataset.schema.bit_names[bit] for bit in _set_bits(dataset, split.attributes[row], group)]
            contradictions.append(f"{split.image_paths[row]}: {' and '.join(set_bits) or 'nothing'}")
    return contradictions


def _set_bits(dataset: SearchDataset, vector: UInt8Array, group: int) -> list[int]:
    return [bit for bit in dataset.schema.groups[group].bits if vector[bit]]


def _changing_people(split: Split) -> list[str]:
    labels = Counter(person for person, _ in set(zip(split.identities, split.categories.tolist(), strict=True)))
    return sorted(person for person, number in labels.items() if person and number > 1)


def _finding(severity: str, what: str, cases: Sequence[str], examples: int = 3) -> Finding:
    return Finding(severity, what, len(cases), tuple(cases[:examples]))


def print_check(report: CheckReport, console: Console) -> None:
    """Print the findings for people, the worst last, where a terminal stops."""
    console.print(f"{report.name}: {report.num_images:,} images read", highlight=False)
    print_statistics(report.statistics, console)
    for note in report.notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"marked as sensitive: {', '.join(report.sensitive) or 'none'}", highlight=False, markup=False)
    console.print(f"not marked: {', '.join(report.not_sensitive) or 'none'}", highlight=False, markup=False)
    for finding in sorted(report.findings, key=lambda finding: finding.severity, reverse=True):
        console.print(
            f"{finding.severity}: {finding.what}: {finding.count:,}", highlight=False, markup=False, soft_wrap=True
        )
        for example in finding.examples:
            shown = example if example.isprintable() else repr(example)[1:-1]  # names must not steer a terminal
            console.print(f"    {shown}", highlight=False, markup=False, soft_wrap=True)
    if not report.findings:
        console.print("nothing wrong found")


def print_statistics(statistics: dict[str, int], console: Console) -> None:
    """Print the counts of both splits side by side."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("", "train", "test"):
        table.add_column(heading, justify="left" if not heading else "right")
    for count in ("images", "identities", "categories", "categories_of_one_image", "largest_category"):
        cells = (f"{statistics[f'{split}_{count}']:,}" for split in ("train", "test"))
        table.add_row(count.replace("_", " "), *cells)
    table.add_row("unseen categories", "", f"{statistics['test_categories_unseen']:,}")
    console.print(table)
