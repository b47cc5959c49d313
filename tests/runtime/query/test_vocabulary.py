"""Unknown words: only what is near in spelling is suggested, and never another kind of person."""

from __future__ import annotations

import pytest

from sal_runtime.errors import SchemaError
from sal_runtime.query.language import parse_query
from sal_runtime.query.schema import AttributeSchema
from sal_train.datasets.market1501 import SCHEMA as MARKET
from sal_train.datasets.peta_schema import SCHEMA as PETA


@pytest.mark.parametrize("schema", [MARKET, PETA], ids=lambda schema: schema.name)
@pytest.mark.parametrize(
    "word",
    [
        *(
            "asian",
            "african",
            "chinese",
            "arab",
            "muslim",
            "gay",
            "fat",
            "tan",
            "pale",
            "tall",
            "slim",
            "blonde",
            "mad",
        ),
        *("mean", "mane", "many", "make", "lade", "boyy", "gurl", "chill", "aged", "mother", "brother", "oldie"),
        *("blonde", "beard", "phone", "denim", "turquoise", "tattoo", "glasses", "wheelchair", "police", "dog", "bat"),
    ],
)
def test_unlike_words_are_not_suggested(word: str, schema: AttributeSchema) -> None:
    for text in (word, f"a person with {word}", f"no {word}"):
        with pytest.raises(SchemaError) as error:
            parse_query(text, schema)
        assert str(error.value) == f"this bundle does not know '{word}'; see the list of its words"
        assert error.value.parameter == "words"


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("hatt", "hat"),
        ("backpak", "backpack"),
        ("rucksak", "rucksack"),
        ("womn", "woman"),
        ("femael", "female"),
        ("jaket", "jacket"),
        ("upper=gren", "green"),
        ("upper=bleu", "blue"),
        ("jakcet=red", "jacket"),
        ("red trouzers", "trousers"),
    ],
)
def test_slips_of_the_finger_are_recognised(slip: str, meant: str) -> None:
    with pytest.raises(SchemaError, match=rf"did you mean (\S+ or )*{meant}\b"):
        parse_query(slip, MARKET)
