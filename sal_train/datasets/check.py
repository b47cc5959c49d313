"""`sal data check`: finds the faults of a data set before training does."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from sal_runtime.arrays import UInt8Array
from sal_runtime.errors import InputError
from sal_runtime.images.pixels import decode_image
from sal_train.datasets.splits import SearchDataset, Split

SMALLEST_HEIGHT = 32
"""Pixels; a smaller image shows hardly any attribute."""


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
    """

    name: str
    num_images: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    statistics: dict[str, int]

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
    """Decode every image and look for unreadable files, leaks, contradictory labels and constant attributes.

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
    ]
    return CheckReport(
        dataset.name,
        sum(len(split.image_paths) for split in splits.values()),
        tuple(finding for finding in findings if finding.count),
        dataset.notes,
        category_statistics(dataset),
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
        data = path.read_bytes()
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
    share = dataset.train.attributes.mean(axis=0)
    never = [names[bit] for bit in np.flatnonzero(share == 0)]
    always = [names[bit] for bit in np.flatnonzero(share == 1)]
    identities = set(dataset.train.identities) & set(dataset.test.identities) - {""}
    return [
        _finding("warning", "attributes no training image has", never),
        _finding("warning", "attributes every training image has", always),
        _finding("warning", "contradictory labels (bits that fit no state of a group)", _contradictions(dataset)),
        _finding("error", "people in training and test alike", sorted(identities)),
        _finding("warning", "people whose images have different attributes", _changing_people(dataset.train)),
    ]


def _contradictions(dataset: SearchDataset) -> list[str]:
    contradictions = []
    for split in (dataset.train, dataset.test):
        states = dataset.schema.states_from_vectors(split.attributes)
        for row, group in np.argwhere(states < 0):
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
    """Print the findings for people, worst first."""
    console.print(f"{report.name}: {report.num_images:,} images read", highlight=False)
    print_statistics(report.statistics, console)
    for note in report.notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    for finding in sorted(report.findings, key=lambda finding: finding.severity):
        console.print(
            f"{finding.severity}: {finding.what}: {finding.count:,}", highlight=False, markup=False, soft_wrap=True
        )
        for example in finding.examples:
            console.print(f"    {example}", highlight=False, markup=False, soft_wrap=True)
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
