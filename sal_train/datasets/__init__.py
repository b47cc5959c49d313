"""Data sets of people with attributes, all in one form: two splits of images, labelled by categories.

A category is the set of images whose attribute vectors are identical (paper, sec. 4); a query is the vector of a test
category, its true matches are the gallery images of that category.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sal_runtime.errors import InputError
from sal_runtime.query.schema import AttributeSchema

PUBLISHED = ("market1501", "peta")


@dataclass(frozen=True)
class Split:
    """The images of one side of a protocol.

    Attributes:
        image_paths: N files.
        attributes: uint8 [N, A], per image.
        categories: int64 [N], numbers 0..K-1 within this split, in order of first appearance.
        identities: person of each image, "" where unknown.
        num_auxiliary: the last images, of another data set in the words of this one: they are trained on, but never
            held out or counted in statistics, as nobody like them will be searched.
    """

    image_paths: tuple[Path, ...]
    attributes: NDArray[np.uint8]
    categories: NDArray[np.int64]
    identities: tuple[str, ...]
    num_auxiliary: int = 0

    @property
    def num_own(self) -> int:
        """Images that are not auxiliary; they come first, and so do their categories."""
        return len(self.image_paths) - self.num_auxiliary

    @property
    def num_categories(self) -> int:
        """K."""
        return int(self.categories.max()) + 1 if len(self.categories) else 0

    @property
    def category_vectors(self) -> NDArray[np.uint8]:
        """The attribute vector of each category, uint8 [K, A]."""
        _, first = np.unique(self.categories, return_index=True)
        return self.attributes[first]


@dataclass(frozen=True)
class SearchDataset:
    """A data set with its search protocol: train on one split; query with the other's category vectors.

    Attributes:
        seen: bool [K_test], whether a test category also occurs in training.
        prior: float64 [A], probability of each attribute in training.
        one_draw_groups: multi-valued attributes, which the paper samples by one multinomial draw; it samples all other
            attributes bit by bit.
        notes: what was met while loading that a person should know, one line each.
        attribution: whose data it is.
        licence: its terms, in a line.
    """

    name: str
    schema: AttributeSchema
    train: Split
    test: Split
    seen: NDArray[np.bool_]
    prior: NDArray[np.float64]
    one_draw_groups: tuple[str, ...]
    notes: tuple[str, ...]
    attribution: str
    licence: str


def split_from_rows(image_paths: list[Path], attributes: NDArray[np.uint8], identities: list[str]) -> Split:
    """A split of images with their attribute vectors [N, A]; categories are numbered as they first appear."""
    numbers: dict[bytes, int] = {}
    categories = [numbers.setdefault(row.tobytes(), len(numbers)) for row in attributes]
    return Split(tuple(image_paths), attributes, np.array(categories, dtype=np.int64), tuple(identities))


def seen_categories(train: Split, test: Split) -> NDArray[np.bool_]:
    """Whether each test category's vector is also a training category's, bool [K_test]."""
    known = {row.tobytes() for row in train.category_vectors}
    return np.array([row.tobytes() in known for row in test.category_vectors], dtype=np.bool_)


def expect(what: str, got: object, expected: object, remedy: str) -> None:
    """One assertion of a published protocol.

    Raises:
        InputError: `got` is not `expected`; says both and what to do.
    """
    if got != expected:
        raise InputError(f"{what}: got {got}, expected {expected}; {remedy}")


def load_dataset(name: str, root: Path) -> SearchDataset:
    """Load a data set and check its protocol.

    Args:
        name: `market1501`, `peta`, `market1501+peta` (the first with people of the second to train on), or a folder,
            .csv or .jsonl file of your own (see docs/data.md).
        root: folder that holds `Market-1501/` or `PETA/`; your own paths may be relative to it.

    Raises:
        InputError: files are missing, or what is there is not the published data.
    """
    if name == "market1501":
        from sal_train.datasets.market1501 import load_market1501

        return load_market1501(root)
    if name == "peta":
        from sal_train.datasets.peta import load_peta

        return load_peta(root)
    if name == "market1501+peta":
        from sal_train.datasets.market1501_peta import load_market1501_with_peta

        return load_market1501_with_peta(root)
    from sal_train.datasets.table import load_table

    own = Path(name)
    return load_table(own if own.exists() else root / name)
