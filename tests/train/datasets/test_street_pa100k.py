"""PA-100K in the words of the street, by hand, and the data sets that hold it, on a drawn tree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sal_runtime.errors import InputError
from sal_runtime.query.language import parse_query
from sal_train.datasets import pa100k
from sal_train.datasets.load import load_dataset
from sal_train.datasets.pa100k import BIT
from sal_train.datasets.splits import split_from_rows
from sal_train.datasets.street import in_words_of, joined
from sal_train.datasets.street_schema import LEFT_OUT, SCHEMA, schema_without, street_from_pa100k
from tests.train.datasets.drawn_pa100k import fields, write_pa100k


def said(*names: str) -> tuple[set[str], set[str], set[str]]:
    """What a person of PA-100K with these attributes is, is not, and may be, by the names of bits of the street."""
    vector = np.zeros((1, len(BIT)), dtype=np.uint8)
    vector[0, [BIT[name] for name in names]] = 1
    attributes, known = (array[0] for array in street_from_pa100k(vector))
    assert not attributes[~known].any()
    bits = np.array(SCHEMA.bit_names)
    return set(bits[attributes == 1]), set(bits[known & (attributes == 0)]), set(bits[~known])


def test_a_woman_in_shorts() -> None:
    present, absent, unknown = said("Female", "AgeLess18", "Front", "ShortSleeve", "Shorts", "ShoulderBag", "UpperLogo")
    assert present == {"female", "shorts", "short-lower", "messenger-bag", "logo"}
    assert {"age=under-15", "age=16-30", "sleeve=short-sleeve", "sleeve=no-sleeve", "hot-pants", "capri"} <= unknown
    assert {"age=31-45", "age=over-60", "sleeve=long-sleeve", "dress", "trousers", "jeans", "short-skirt"} <= absent
    assert {"backpack", "handbag", "hat", "sunglasses", "carrying-nothing", "plaid-upper", "boots"} <= absent


def test_an_old_man_in_trousers_who_carries_nothing_that_is_labelled() -> None:
    present, absent, unknown = said("AgeOver60", "Back", "LongSleeve", "Trousers", "Glasses", "UpperStride", "boots")
    assert present == {"age=over-60", "sleeve=long-sleeve", "stripes-upper", "boots"}
    assert {"female", "dress", "short-lower", "shorts", "short-skirt", "long-skirt", "sleeve=no-sleeve"} <= absent
    assert {"trousers", "jeans", "suit-lower", "capri", "sunglasses", "thin-stripes-upper", "jacket"} <= unknown
    assert {"carrying-nothing", "no-accessory", "plastic-bag", "hair=long-hair", "upper-colour=red"} <= unknown


def test_a_person_in_a_skirt_with_something_in_the_hands() -> None:
    present, absent, unknown = said("Age18-60", "Side", "Skirt&Dress", "HoldObjectsInFront", "Hat")
    assert present == {"dress", "hat"}
    assert {"carrying-nothing", "no-accessory", "trousers", "jeans", "shorts", "hot-pants", "age=under-15"} <= absent
    assert {"short-skirt", "long-skirt", "short-lower", "age=16-30", "age=31-45", "age=46-60"} <= unknown
    assert {name for name in SCHEMA.bit_names if name.startswith("sleeve")} <= unknown


def test_labels_that_contradict_each_other_say_nothing() -> None:
    present, absent, unknown = said("Age18-60", "AgeOver60", "ShortSleeve", "LongSleeve", "Trousers", "Shorts")
    assert not present
    parts = ("age", "sleeve", "dress", "short-lower", "shorts", "jeans", "long-skirt")
    assert {name for name in SCHEMA.bit_names if name.startswith(parts)} <= unknown
    assert "hat" in absent


@pytest.mark.parametrize("word", ["shorts", "stripes-upper", "age=over-60", "jeans"])
def test_words_that_leave_the_vocabulary_change_no_other(word: str) -> None:
    vectors = fields()["train_label"]
    fewer = schema_without({*LEFT_OUT, word})
    kept = [name != word for name in SCHEMA.bit_names]
    for full, part in zip(street_from_pa100k(vectors), street_from_pa100k(vectors, fewer), strict=True):
        np.testing.assert_array_equal(full[:, kept], part)


def test_pa100k_alone_in_the_words_of_the_street(tmp_path: Path) -> None:
    content = fields()
    write_pa100k(tmp_path, content)
    data, own = (load_dataset(name, tmp_path) for name in ("street-pa100k", "pa100k"))
    assert (data.name, data.schema) == ("street-pa100k", SCHEMA)
    assert data.train.image_paths == own.train.image_paths
    assert data.train.source_names == ("pa100k",)
    assert set(data.test.identities) == {""}
    assert data.licence == own.licence
    assert np.isfinite(data.prior).all()
    (note,) = [note for note in data.notes if "say nothing of" in note]
    assert "hair-colour=black" in note
    assert "backpack" not in note
    np.testing.assert_array_equal(data.test.known, street_from_pa100k(content["test_label"])[1])


def test_data_sets_are_joined_with_their_gaps(tmp_path: Path) -> None:
    """The drawn tree stands for two data sets, of which each has its own categories."""
    write_pa100k(tmp_path, fields())
    own = load_dataset("pa100k", tmp_path)
    paths = list(own.test.image_paths)
    peta = split_from_rows(paths, np.zeros((10, 105), dtype=np.uint8), ["7"] * 10)
    split = joined([("pa100k", own.train), ("peta", peta), ("pa100k", own.test)])
    assert split.source_names == ("pa100k", "peta")
    of_pa100k, of_peta = split.rows_by_source()
    assert (len(of_pa100k), len(of_peta)) == (46 + 10, 10)
    assert not set(split.categories[of_pa100k]) & set(split.categories[of_peta])
    assert {split.identities[row] for row in of_peta} == {"peta-7"}
    assert split.known[of_peta].mean() > 0.9 > 0.5 > split.known[of_pa100k].mean()  # PETA labels nearly every word


def test_a_model_of_the_street_is_measured_on_pa100k_in_its_words(tmp_path: Path) -> None:
    write_pa100k(tmp_path, fields())
    data = in_words_of(load_dataset("pa100k", tmp_path), SCHEMA)
    assert data.schema == SCHEMA
    assert not data.train.known.all()


def test_what_people_type_is_understood_in_both_vocabularies() -> None:
    words = "man woman child old hat backpack handbag bag long-sleeve short-sleeve logo plaid-upper shorts skirt boots"
    for word in words.split():
        for schema in (SCHEMA, pa100k.SCHEMA):
            assert len(parse_query(word, schema).terms) == 1


@pytest.mark.parametrize("name", ["street", "street+pa100k"])
def test_the_others_are_needed_where_they_are_named(tmp_path: Path, name: str) -> None:
    write_pa100k(tmp_path, fields())
    with pytest.raises(InputError, match=r"market_attribute\.mat: not found"):
        load_dataset(name, tmp_path)


@pytest.mark.slow
def test_all_three_are_inside(market1501_root: Path, peta_root: Path, tmp_path: Path) -> None:
    write_pa100k(tmp_path, fields())
    for folder in (market1501_root, peta_root):
        (tmp_path / folder.name).symlink_to(folder)
    data, both = (load_dataset(name, tmp_path) for name in ("street+pa100k", "street"))
    assert data.test.source_names == ("market1501", "peta", "pa100k")
    assert [len(rows) for rows in data.test.rows_by_source()] == [16_483, 1_435, 10]
    assert (data.train.num_own, data.train.num_auxiliary) == (both.train.num_own + 46, both.train.num_auxiliary)
    assert data.test.num_categories == both.test.num_categories + 10
    assert data.licence == both.licence == "research only, no commercial use, not to be redistributed"
    assert "PA-100K" in data.attribution
    assert not [note for note in data.notes if "say nothing of" in note]
