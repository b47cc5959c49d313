"""`sal data stats`: frequencies of the attributes and sizes of the categories."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from sal_train.datasets.attribute_tree import fit_statistics
from sal_train.datasets.check import category_statistics, print_statistics
from sal_train.datasets.splits import SearchDataset, describe
from sal_train.evaluation.attribute_recognition import full_name

BAR_WIDTH = 20
NUM_LARGEST = 3


def dataset_statistics(dataset: SearchDataset) -> dict[str, Any]:
    """Counts, the share of images with each attribute, the largest categories, and the dependencies between groups."""
    statistics = fit_statistics(dataset.schema, dataset.train.attributes, dataset.train.known)
    groups = dataset.schema.groups
    sizes = np.bincount(dataset.train.categories)
    largest = np.argsort(-sizes, kind="stable")[:NUM_LARGEST]
    shares = zip(
        dataset.schema.bit_names,
        dataset.train.labels.shares().tolist(),
        dataset.test.labels.shares().tolist(),
        strict=True,
    )
    group_of = {bit: group.name for group in groups for bit in group.bits}
    return {
        "name": dataset.name,
        "counts": category_statistics(dataset),
        "attributes": {
            name: {"group": group_of[bit], "train": train, "test": test}
            for bit, (name, train, test) in enumerate(shares)
        },
        "largest_categories": [
            {"images": int(sizes[category]), "words": describe(dataset.schema, vector, known)}
            for category, vector, known in zip(
                largest, dataset.train.category_vectors[largest], dataset.train.category_known[largest], strict=True
            )
        ],
        "strongest_dependencies": [
            {"group": groups[child].name, "depends_on": groups[parent].name}
            for child, parent in enumerate(statistics.parents)
            if parent >= 0
        ],
        "sensitive": [group.name for group in groups if group.sensitive],
        "notes": list(dataset.notes),
        "licence": dataset.licence,
    }


def print_dataset_statistics(report: dict[str, Any], console: Console) -> None:
    """Print the report of `dataset_statistics` for people."""
    console.print(f"{report['name']} ({report['licence']})", highlight=False)
    print_statistics(report["counts"], console)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("attribute", "train", "test", ""):
        table.add_column(heading, justify="right" if heading in ("train", "test") else "left", no_wrap=True)
    for name, share in report["attributes"].items():
        bar = "█" * round(BAR_WIDTH * share["train"])
        table.add_row(full_name(name, share["group"]), f"{share['train']:.1%}", f"{share['test']:.1%}", bar)
    console.print(table)
    console.print("largest training categories:")
    for category in report["largest_categories"]:
        console.print(
            f"  {category['images']:,} images: {', '.join(category['words'])}", highlight=False, soft_wrap=True
        )
    if report["sensitive"]:
        console.print(f"sensitive: {', '.join(report['sensitive'])}", highlight=False)
    for note in report["notes"]:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
