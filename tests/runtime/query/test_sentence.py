"""Descriptions as people type them, against the exact form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sal_runtime.errors import SchemaError
from sal_runtime.matching.result import asked_term
from sal_runtime.query.language import parse_query
from sal_runtime.query.schema import AttributeSchema, binary, exclusive
from sal_train.datasets.market1501 import SCHEMA as MARKET
from sal_train.datasets.peta_schema import SCHEMA as PETA
from sal_train.datasets.street_schema import SCHEMA as STREET
from tests.runtime.tiny_bundle import SCHEMA as TINY

REPOSITORY = Path(__file__).parents[3]
SENTENCES = {
    (
        "man in a red jacket and blue trousers with a backpack, no hat",
        "Mann mit roter Jacke und blauer Hose, mit Rucksack, ohne Hut",
        "Ein Mann in einer roten Jacke und einer blauen Hose trägt einen Rucksack, keinen Hut",
        "hombre con chaqueta roja y pantalón azul, con mochila, sin sombrero",
        "homme en veste rouge et pantalon bleu, avec un sac à dos, sans chapeau",
        "穿红色上衣和蓝色裤子的男人\uff0c背着背包\uff0c不戴帽子",
    ): "gender=male,upper=red,lower=blue,trousers,backpack,!hat",
    (
        "woman with long hair in a black skirt",
        "Frau mit langen Haaren in schwarzem Rock",
        "mujer de pelo largo con falda negra",
        "femme aux cheveux longs en jupe noire",
        "穿黑色的裙子的长头发女人",
    ): "female,long-hair,lower=black,skirt",
    (
        "not a red or blue jacket",
        "keine rote oder blaue Jacke",
        "sin chaqueta roja o azul",
        "pas de veste rouge ou bleue",
    ): "!upper=red|blue",
}
"""The same in five languages, and what it means."""


@pytest.mark.parametrize(
    ("sentence", "exact"),
    [
        (
            "man in a red jacket and blue trousers with a backpack, no hat",
            "male,upper=red,lower=blue,pants,backpack,no-hat",
        ),
        ("A woman wearing a white top and a black skirt.", "female,upper=white,lower=black,skirt"),
        ("lady", "female"),
        ("ladies", "female"),
        ("girl", "female"),
        ("boys", "male"),
        ("guy with a rucksack", "male,backpack"),
        ("kids", "young"),
        ("backpacks", "backpack"),
        ("red or blue jacket", "upper=red|blue"),
        ("grey coat", "upper=gray"),
        ("jacket in red", "upper=red"),
        ("trousers=blue", "lower=blue"),
        ("jacket=red|blue", "upper=red|blue"),
        ("jeans", "pants"),
        ("blue jeans", "lower=blue,pants"),
        ("trousers blue, shirt red", "lower=blue,pants,upper=red"),
        ("upper red and lower blue", "upper=red,lower=blue"),
        ("long hair and short sleeves", "long-hair,short-sleeve"),
        ("long trousers", "long-lower,pants"),
        ("not hat", "!hat"),
        ("without a hat", "!hat"),
        ("without a hat or backpack", "!hat|backpack"),
        ("neither hat nor backpack", "!hat|backpack"),
        ("without a hat and with a backpack", "!hat,backpack"),
        ("no red jacket", "!upper=red"),
        ("!red jacket", "!upper=red"),
        ("hat or backpack", "hat|backpack"),
        ("red jacket|blue jacket", "upper=red|blue"),
        ("either red or blue top", "upper=red|blue"),
        ("somebody with long hair but no bag", "long-hair,!bag"),
        ("woman wearing a black skirt carrying a handbag", "female,lower=black,skirt,handbag"),
        ("short sleeve shirt", "short-sleeve"),
        ("red short-sleeved shirt", "short-sleeve,upper=red"),
        ("long sleeves and blue jeans", "long-sleeve,lower=blue,pants"),
        ("short sleeve red or blue shirts", "short-sleeve,upper=red|blue"),
        ("upper body red, lower body: blue", "upper=red,lower=blue"),
        ("upper:red", "upper=red"),
        ("upper clothing red", "upper=red"),
        ("he isn't wearing a hat", "male,!hat"),
        ("she doesn\u2019t have a backpack", "female,!backpack"),
        ("a man's jacket is red", "male,upper=red"),
        ("I am looking for a woman in a white blouse", "female,upper=white"),
        ("show me men with backpacks", "male,backpack"),
        ("guy w/ backpack w/o hat", "male,backpack,!hat"),
        ("navy jacket", "upper=blue"),
        ("no hat, backpack", "no-hat,backpack"),
        ("no hat no backpack", "!hat,!backpack"),
        ("no hat with a backpack", "!hat,backpack"),
        ("male\uff0cbackpack\u3001\uff01hat\uff0cupper\uff1dred\uff5cblue", "male,backpack,!hat,upper=red|blue"),
        ("\uff32\uff25\uff24\u3000jacket", "upper=red"),
    ],
)
def test_a_sentence_means_its_exact_form(sentence: str, exact: str) -> None:
    got, expected = parse_query(sentence, MARKET), parse_query(exact, MARKET)
    assert [(term.negated, term.states) for term in got.terms] == [
        (term.negated, term.states) for term in expected.terms
    ]


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ("man with an umbrella", "this bundle does not know 'umbrella'"),
        ("dark jacket", "this bundle does not know 'dark'"),
        ("woman in blue", "'blue' could be upper-colour=blue or lower-colour=blue"),
        ("woman in pink", "'pink' has no garment beside it; write lower-colour=pink"),
        ("red and blue jacket", "'red and blue': it can be read in two ways"),
        ("black man", "'black' does not go with 'man'"),
        ("man with a red backpack", "backpack cannot be 'red'"),
        ("pink jacket", "upper-colour cannot be 'pink'; it is one of black, white, red"),
        ("red dress", "'red' does not go with 'dress'"),
        ("jacket", "this bundle knows only its colour; write one of these with it: black, white, red"),
        ("no hat and backpack", "can be read in two ways"),
        ("not blue trousers", "negates two things"),
        ("red jacket or blue trousers", "asks for two things"),
        ("man with a", "a word is missing"),
        ("or hat", "a word is missing"),
        ("a person", "'a person' names nothing to look for"),
        ("some clothes", "'some clothes' names nothing to look for"),
        ("black clothes", "'black' could be upper-colour=black or lower-colour=black"),
        ("all in black", "'black' could be upper-colour=black or lower-colour=black"),
        ("a tall asian with a beard", "this bundle does not know 'tall', 'asian' and 'beard'; see the list"),
        ("man on a bicycle", "this bundle does not know 'bicycle'"),
        ("upper=red lower=blue", "put a comma between two conditions"),
        ("black/white shirt", "'black/white' can be read in two ways; write 'and' or 'or'"),
        ("hat / backpack", "'/' can be read in two ways"),
        ("=red", "a word is missing in '=red'"),
        ("no hat backpack", "'no hat backpack': it can be read in two ways"),
        ("no hat red jacket", "it can be read in two ways"),
        ("short sleeve hair", "'short sleeve hair': needs a value of hair"),
        ("short sleeve leggings", "knows only its colour"),
        ("red short sleeves", "'red' has no garment beside it"),
        ("red bag", "bag cannot be 'red'; it is one of no-bag, bag"),
        ("middle aged mother", "this bundle does not know 'middle', 'aged' and 'mother'; see the list"),
    ],
)
def test_what_is_not_understood_is_named_and_nothing_is_guessed(sentence: str, message: str) -> None:
    with pytest.raises(SchemaError) as error:
        parse_query(sentence, MARKET)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("skirt", "write short-skirt, or long-skirt, or one of these with it: black, blue"),
        ("suit", "write suit-upper, or suit-lower, or one of these with it: black, blue"),
        ("red bag", "this bundle does not know 'bag'; it knows messenger-bag, plastic-bag"),
    ],
)
def test_words_that_are_part_of_known_ones_lead_to_them(word: str, message: str) -> None:
    with pytest.raises(SchemaError) as error:
        parse_query(word, PETA)
    assert message in str(error.value)


def test_a_garment_that_the_schema_knows_is_asked_for_with_its_colour() -> None:
    got = parse_query("red jacket, sneakers in white, black hair", PETA)
    assert got.terms == parse_query("upper=red,jacket,footwear=white,sneakers,hair-colour=black", PETA).terms


@pytest.mark.parametrize(
    ("typed", "exact"),
    [
        ("adult man", "age=31-45|46-60,male"),
        ("adult or old woman", "age=31-45|46-60|over-60,female"),
        ("no adult", "!age=31-45|46-60"),
        ("age=grown-up", "age=31-45|46-60"),
        ("teenager", "age=16-30"),
        ("young woman", "age=16-30,female"),
        ("child", "age=under-15"),
        ("elderly man", "age=over-60,male"),
        ("man with a bag, no handbag", "male,messenger-bag,no-handbag"),
        ("woman with a purse and a scarf", "female,handbag,muffler"),
        ("grey coat", "upper=grey"),
        ("long trousers", "long-lower,trousers"),
        ("black slacks", "lower=black,pants"),
        ("white trainers", "footwear=white,sneakers"),
        ("flip-flops", "sandals"),
        ("man in a black suit", "male,upper=black,suit-upper"),
        ("empty-handed", "carrying-nothing"),
        ("blonde woman in a red shirt", "hair-colour=yellow,female,upper=red"),
        ("woman with blond hair", "female,hair-colour=yellow"),
        ("blonde", "hair-colour=yellow"),
        ("carrying nothing, no accessory", "carrying-nothing,no-accessory"),
        ("blue jeans and a striped shirt", "lower=blue,jeans,stripes-upper"),
    ],
)
def test_what_people_type_in_the_words_of_the_street(typed: str, exact: str) -> None:
    query = parse_query(typed, STREET)
    assert query.terms == parse_query(exact, STREET).terms
    assert not query.notes


def test_an_answer_names_a_group_only_where_the_word_does_not() -> None:
    query = parse_query("!long-hair, adult, upper=red, !no-sleeve, casual-upper, bald|short-hair", STREET)
    assert [asked_term(term, STREET).understood for term in query.terms] == [
        "not long-hair",
        "age 31-45 or 46-60",
        "upper-colour red",
        "not no-sleeve",
        "casual-upper",
        "hair short-hair or bald",
    ]


def test_words_of_the_schema_win_over_everyday_english() -> None:
    schema = AttributeSchema(
        "own",
        (
            binary("gender", 0, absent="male", present="female"),
            binary("lady", 1),
            exclusive("upper-colour", {"red": 2, "blue": 3}, allow_none=True),
            binary("jacket", 4),
        ),
    )
    assert parse_query("lady", schema).terms[0].states == ((1, frozenset({1})),)
    assert parse_query("red jacket", schema).terms == parse_query("upper-colour=red,jacket", schema).terms
    assert parse_query("person in red", schema).terms == parse_query("upper-colour=red", schema).terms


def test_a_group_of_colours_may_have_a_short_name() -> None:
    upper = exclusive("upper", {"red": 0, "blue": 1}, allow_none=True)
    lower = exclusive("lower", {"black": 2, "green": 3}, allow_none=True)
    schema = AttributeSchema("short", (upper, lower, exclusive("hair", {"long": 4, "bald": 5}, allow_none=True)))
    got = parse_query("bald person in a red jacket and green trousers", schema)
    assert got.terms == parse_query("bald,upper=red,lower=green", schema).terms


def test_a_colour_that_only_one_garment_can_have_is_noted() -> None:
    assert parse_query("female,pink", MARKET).notes == ("'pink' names no garment; it was read as lower-colour",)
    assert not parse_query("female,lower=pink", MARKET).notes


@pytest.mark.parametrize("schema", [TINY, MARKET, PETA, STREET], ids=lambda schema: schema.name)
def test_whatever_sal_prints_of_a_word_can_be_asked_again(schema: AttributeSchema) -> None:
    """Every value of every group, as it is printed in answers, in errors, in `sal bundle words` and in bundles."""
    for number, group in enumerate(schema.groups):
        for index, state in enumerate(group.states):
            (term,) = parse_query(f"{group.name}={state.name}", schema).terms
            printed = [term.text, asked_term(term, schema).understood]
            printed += [state.name] if len(schema.words[state.name]) == 1 else []
            if group.name not in schema.words:  # `backpack no-backpack` is a contradiction
                printed.append(f"{group.name} {state.name}")
                printed.append(f"{group.name.replace('-', ' ')}: {state.name.replace('-', ' ').capitalize()}")
            for text in printed:
                assert parse_query(text, schema).terms[0].states == ((number, frozenset({index})),), text
            for text in (
                f"!{term.text}",
                f"not {printed[1]}",
                f"without {printed[1]}",
            ):
                (negated,) = parse_query(text, schema).terms
                assert negated.negated, text
                assert negated.states == term.states, text
    for name in schema.bit_names:
        assert len(parse_query(name, schema).terms) == 1


def terms_of(schema: AttributeSchema) -> st.SearchStrategy[str]:
    words = [f"{group.name}={state.name}" for group in schema.groups for state in group.states]
    return st.builds(
        lambda negated, chosen: ("!" if negated else "") + "|".join(chosen),
        st.booleans(),
        st.lists(st.sampled_from(words), min_size=1, max_size=3),
    )


@pytest.mark.parametrize("schema", [TINY, MARKET, PETA, STREET], ids=lambda schema: schema.name)
def test_what_is_printed_as_understood_can_be_asked_again(schema: AttributeSchema) -> None:
    @settings(max_examples=150, deadline=None)
    @given(terms_of(schema))
    def check(text: str) -> None:
        try:
            query = parse_query(text, schema)
        except SchemaError:
            return
        assert parse_query(query.understood, schema).terms == query.terms
        printed = [asked_term(term, schema).understood for term in query.terms]
        assert parse_query(", ".join(printed), schema).terms == query.terms
        assert parse_query(" · ".join(printed), schema).terms == query.terms

    check()


def test_the_example_in_five_languages_parses() -> None:
    example = REPOSITORY / "docs" / "examples" / "schema_in_five_languages.json"
    schema = AttributeSchema.from_json(json.loads(example.read_text(encoding="utf-8")))
    assert [(group.name, [(state.name, state.bit) for state in group.states]) for group in schema.groups] == [
        (group.name, [(state.name, state.bit) for state in group.states]) for group in MARKET.groups
    ]
    for number, group in enumerate(schema.groups):
        for index, state in enumerate(group.states):
            for name in (group.name, *group.aliases):
                for word in state.words():
                    (term,) = parse_query(f"{name}={word}", schema).terms
                    assert term.states == ((number, frozenset({index})),), (name, word)
    for sentences, exact in SENTENCES.items():
        expected = parse_query(exact, MARKET).conjunctions
        for sentence in sentences:
            assert parse_query(sentence, schema).conjunctions == expected, sentence
    for sentence, unknown in (
        ("Mann mit Regenschirm", "regenschirm"),
        ("\u5e26\u96e8\u4f1e\u7684\u7537\u4eba", "\u96e8\u4f1e"),
    ):
        with pytest.raises(SchemaError, match=f"does not know '{unknown}';"):
            parse_query(sentence, schema)
    german, spanish, french, chinese = (
        parse_query(text, schema).terms
        for text in (
            "mann,rucksack,!hut,jacke=rot",
            "hombre,mochila,!sombrero,chaqueta=rojo",
            "homme,sac-à-dos,!chapeau,veste=rouge",
            "男,背包,!帽子,上衣=红色",
        )
    )
    assert german == spanish == french == chinese == parse_query("male,backpack,!hat,upper=red", MARKET).terms
