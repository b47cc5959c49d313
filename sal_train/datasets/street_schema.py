"""One vocabulary for the street: the words of Market-1501 and PETA in one schema, and labels in these words.

Neither data set labels everything. A label that a set does not give is unknown: its bit is 0, and `known` is False.
Bits are enough to say "one of several states": Market's `adult` leaves 31-45 and 46-60 unknown and excludes all other
ages.

What Market-1501 says: `young` is under-15, `teenager` 16-30, `adult` 31-45 or 46-60, `old` over-60; short hair may be
short, bald or hidden; short sleeves may be short or none; a bag is PETA's messenger bag; a person without a colour may
have one that Market has no word for. Long trousers exclude shorts and skirts, a bag excludes that nothing is carried, a
hat that there is no accessory. All other words of PETA are unknown for Market-1501.

What PETA says: all words but `handbag`, which it only excludes for people who carry nothing. Whether the lower part is
a dress (or a skirt), and short, follows from its words for shorts and skirts; stripes are thin or thick ones.

What PA-100K says: a person under 18 is under-15 or 16-30, one of 18 to 60 may be of three ages; a short sleeve is as
in Market-1501, a shoulder bag is PETA's messenger bag, shorts are shorts, and trousers, a skirt or a dress leave their
kind open. Stripes may be thin or thick, and without glasses there are no sunglasses. Its other words (the view,
glasses, things held in front, long coats, spliced and patterned clothes) are not in the schema: neither of the other
sets labels them.

Words of PETA that fewer than 25 people have in training are left out, and such colours are `none`. They are, with the
number of people: hair blue (0), green (1), orange (1), pink (0), purple (2) and red (1), lower orange (8), footwear
pink (15), purple (13) and blue (20), plaid-lower (13), thin-stripes-lower (22), kerchief (14), shopping-trolley (12)
and umbrella (19).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping

import numpy as np

from sal_runtime.arrays import BoolArray, UInt8Array
from sal_runtime.query.schema import NONE_STATE, AttributeSchema, Group, State, binary
from sal_train.datasets import market1501, pa100k, peta_schema
from sal_train.datasets.peta_schema import BIT
from sal_train.datasets.splits import states_from_vectors

LEFT_OUT = frozenset(
    (
        *(f"hair-colour={colour}" for colour in ("blue", "green", "orange", "pink", "purple", "red")),
        *("lower-colour=orange", "footwear-colour=pink", "footwear-colour=purple", "footwear-colour=blue"),
        *("plaid-lower", "thin-stripes-lower", "kerchief", "shopping-trolley", "umbrella"),
    )
)
"""Words that are not in the schema, by the names of their bits. A word that no model recognises leaves by a name here;
labels and rules that speak of it are then ignored."""
HANDBAG, DRESS, SHORT, STRIPES = range(len(BIT), len(BIT) + 4)
"""Bits of words that are not PETA's own, behind its 105."""


def _peta_group(name: str, aliases: Mapping[str, tuple[str, ...]]) -> Group:
    """A group of PETA with the given aliases for some of its states, in place of its own."""
    group = peta_schema.SCHEMA.groups[peta_schema.SCHEMA.group_index[name]]
    states = tuple(dataclasses.replace(state, aliases=aliases.get(state.name, state.aliases)) for state in group.states)
    return dataclasses.replace(group, states=states)


CHANGED = (
    _peta_group("age", {"16-30": ("young", "teenager", "teen"), "31-45": ()}),
    market1501.gender(BIT["personalFemale"]),
    binary("messenger-bag", BIT["carryingMessengerBag"], present_aliases=("shoulder-bag", "bag")),
    binary("trousers", BIT["lowerBodyTrousers"]),
    binary("plaid-upper", BIT["upperBodyPlaid"], present_aliases=("plaid", "checked")),
    binary("suit-upper", BIT["upperBodySuit"], present_aliases=("suit",)),
    _peta_group("hair-colour", {"yellow": ("blond", "blonde")}),
)
"""Groups of PETA that have other words here: Market-1501 has words of its own, and some words became unique."""
ADDED = (
    binary("handbag", HANDBAG),
    binary("lower-type", DRESS, absent="pants", present="dress", present_aliases=("skirt",)),
    binary(
        "lower-length",
        SHORT,
        absent="long-lower",
        present="short-lower",
        absent_aliases=("long",),
        present_aliases=("short",),
    ),
    binary("stripes-upper", STRIPES, present_aliases=("stripes", "striped")),
)
"""Groups that PETA does not have: those of Market-1501, and stripes of any kind."""


def _every_group() -> tuple[Group, ...]:
    """All groups, with the bits of PETA and those behind them."""
    changed = {group.name: group for group in CHANGED}
    return (*(changed.get(group.name, group) for group in peta_schema.SCHEMA.groups), *ADDED)


def _bit_name(group: Group, state: State) -> str:
    return state.name if group.kind == "binary" else f"{group.name}={state.name}"


def schema_without(left_out: Collection[str]) -> AttributeSchema:
    """The vocabulary without some words, named as in `LEFT_OUT`; a binary group goes as a whole."""
    groups = []
    bits = iter(range(len(ORIGINS)))
    for group in _every_group():
        kept = [state for state in group.states if state.bit is None or _bit_name(group, state) not in left_out]
        states = tuple(state if state.bit is None else dataclasses.replace(state, bit=next(bits)) for state in kept)
        if any(state.bit is not None for state in states):
            groups.append(dataclasses.replace(group, states=states))
    return AttributeSchema("street", tuple(groups))


ORIGINS = {
    _bit_name(group, state): state.bit for group in _every_group() for state in group.states if state.bit is not None
}
"""By the name of each word's bit, also of those left out, its bit among PETA's and those behind them."""
SCHEMA = schema_without(LEFT_OUT)
States = Mapping[str, tuple[str, Mapping[str, tuple[str, ...]]]]
Exclusions = tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
ONE_DRAW_GROUPS = peta_schema.ONE_DRAW_GROUPS
MARKET_STATES: States = {
    "age": (
        "age",
        {"young": ("under-15",), "teenager": ("16-30",), "adult": ("31-45", "46-60"), "old": ("over-60",)},
    ),
    "bag": ("messenger-bag", {"no-bag": ("no-messenger-bag",), "bag": ("messenger-bag",)}),
    "sleeve": (
        "sleeve",
        {"long-sleeve": ("long-sleeve",), "short-sleeve": ("short-sleeve", "no-sleeve", NONE_STATE)},
    ),
    "hair": ("hair", {"long-hair": ("long-hair",), "short-hair": ("short-hair", "bald", NONE_STATE)}),
    "upper-colour": ("upper-colour", {"gray": ("grey",), NONE_STATE: ("brown", "orange", "pink", NONE_STATE)}),
    "lower-colour": ("lower-colour", {"gray": ("grey",), NONE_STATE: ("orange", "red", NONE_STATE)}),
}
"""Groups of Market-1501 with their group here, and the states here that a state of Market may be; groups and states
that are not listed have the same names here."""
MARKET_EXCLUDES: Exclusions = (
    (("long-lower",), ("shorts", "capri", "hot-pants", "short-skirt")),
    (("pants",), ("short-skirt", "long-skirt")),
    (("short-lower",), ("long-skirt", "suit-lower")),
    (("pants", "short-lower"), ("trousers",)),
    (("dress",), ("shorts", "suit-lower")),
    (("backpack",), ("carrying-nothing",)),
    (("bag",), ("carrying-nothing",)),
    (("handbag",), ("carrying-nothing",)),
    (("hat",), ("no-accessory",)),
)
"""States of Market-1501 that exclude words here when they hold together; in PETA they are as good as never together."""


PA100K_STATES: States = {
    "age": (
        "age",
        {"under-18": ("under-15", "16-30"), "18-60": ("16-30", "31-45", "46-60"), "over-60": ("over-60",)},
    ),
    "sleeve": (
        "sleeve",
        {
            "short-sleeve": ("short-sleeve", "no-sleeve", NONE_STATE),
            NONE_STATE: ("long-sleeve", "short-sleeve", "no-sleeve", NONE_STATE),
        },
    ),
    "shoulder-bag": (
        "messenger-bag",
        {"no-shoulder-bag": ("no-messenger-bag",), "shoulder-bag": ("messenger-bag",)},
    ),
    "lower-type": (
        "lower-type",
        {"trousers": ("pants",), "shorts": ("pants",), "skirt": ("dress",), NONE_STATE: ("pants", "dress")},
    ),
}
"""The same for PA-100K. Labels that contradict each other say nothing."""
PA100K_EXCLUDES: Exclusions = (
    (("trousers",), ("short-lower", "shorts", "hot-pants", "short-skirt", "long-skirt")),
    (("shorts",), ("trousers", "jeans", "suit-lower", "short-skirt", "long-skirt")),
    (("skirt",), ("trousers", "jeans", "suit-lower", "shorts", "hot-pants", "capri")),
    (("no-stripes-upper",), ("thin-stripes-upper", "thick-stripes-upper")),
    (("no-glasses",), ("sunglasses",)),
    (("hat",), ("no-accessory",)),
    (("handbag",), ("carrying-nothing",)),
    (("shoulder-bag",), ("carrying-nothing",)),
    (("backpack",), ("carrying-nothing",)),
    (("holding-in-front",), ("carrying-nothing",)),
)


def street_from_market(vectors: UInt8Array, schema: AttributeSchema = SCHEMA) -> tuple[UInt8Array, BoolArray]:
    """Translate attribute vectors of Market-1501, uint8 `[N, 30]`.

    Args:
        vectors: labels of N people.
        schema: the vocabulary, perhaps with fewer or more words than now.

    Returns:
        Attributes uint8 `[N, A]` and known bool `[N, A]`.
    """
    attributes, known, _ = _translated(market1501.SCHEMA, vectors, schema, MARKET_STATES, MARKET_EXCLUDES)
    return attributes, known


def street_from_pa100k(vectors: UInt8Array, schema: AttributeSchema = SCHEMA) -> tuple[UInt8Array, BoolArray]:
    """Translate attribute vectors of PA-100K, uint8 `[N, 26]`.

    Args:
        vectors: labels of N people.
        schema: the vocabulary, perhaps with fewer or more words than now.

    Returns:
        Attributes uint8 `[N, A]` and known bool `[N, A]`.
    """
    attributes, known, holds = _translated(pa100k.SCHEMA, vectors, schema, PA100K_STATES, PA100K_EXCLUDES)
    for bit in _bits(schema, ("shorts", "short-lower")):
        attributes[holds["shorts"], bit] = known[holds["shorts"], bit] = 1
    return attributes, known


def _translated(
    theirs: AttributeSchema, vectors: UInt8Array, schema: AttributeSchema, states: States, excludes: Exclusions
) -> tuple[UInt8Array, BoolArray, dict[str, BoolArray]]:
    """Labels of another schema in the words of the street, which of them are known, and who is in each state there."""
    attributes = np.zeros((len(vectors), schema.num_bits), dtype=np.uint8)
    known = np.zeros(attributes.shape, dtype=np.bool_)
    holds: dict[str, BoolArray] = {}
    for group, numbers in zip(theirs.groups, states_from_vectors(theirs, vectors).T, strict=True):
        name, meanings = states.get(group.name, (group.name, {}))
        for number, state in enumerate(group.states):
            holds[state.name] = rows = numbers == number
            if name in schema.group_index:
                group_here = schema.groups[schema.group_index[name]]
                _say(attributes, known, rows, group_here, meanings.get(state.name, (state.name,)))
    for conditions, excluded in excludes:
        rows = np.all([holds[condition] for condition in conditions], axis=0)
        for bit in _bits(schema, excluded):
            known[rows, bit] = True
    return attributes, known, holds


def _bits(schema: AttributeSchema, words: Iterable[str]) -> list[int]:
    """Bits of words that are names of bits, without those that the schema lacks."""
    return [schema.bit_names.index(word) for word in words if word in schema.bit_names]


def _say(attributes: UInt8Array, known: BoolArray, rows: BoolArray, group: Group, allowed: tuple[str, ...]) -> None:
    """Write that a group is in one of the allowed states, into some rows."""
    for state in group.states:
        if state.bit is not None and (state.name not in allowed or allowed == (state.name,)):
            attributes[rows, state.bit] = state.name in allowed
            known[rows, state.bit] = True


def street_from_peta(vectors: UInt8Array, schema: AttributeSchema = SCHEMA) -> tuple[UInt8Array, BoolArray]:
    """Translate attribute vectors of PETA, uint8 `[N, 105]`; contradictory labels remain, but for the gender.

    Args:
        vectors: labels of N people.
        schema: the vocabulary, perhaps with fewer or more words than now.

    Returns:
        Attributes uint8 `[N, A]` and known bool `[N, A]`.
    """

    def column(*names: str) -> UInt8Array:
        return np.asarray(vectors[:, [BIT[name] for name in names]].any(axis=1), dtype=np.uint8)

    dress = column("lowerBodyShortSkirt", "lowerBodyLongSkirt")
    short = column("lowerBodyShorts", "lowerBodyShortSkirt", "lowerBodyHotPants", "lowerBodyCapri")
    stripes = column("upperBodyThinStripes", "upperBodyThickStripes")
    added = {HANDBAG: np.zeros(len(vectors), dtype=np.uint8), DRESS: dress, SHORT: short, STRIPES: stripes}
    everything = np.column_stack([vectors, *(added[bit] for bit in sorted(added))])
    known = np.ones(everything.shape, dtype=np.bool_)
    known[:, HANDBAG] = column("carryingNothing") == 1
    female, male = BIT["personalFemale"], BIT["personalMale"]
    known[:, female] = vectors[:, female] != vectors[:, male]
    everything[~known] = 0
    chosen = [ORIGINS[name] for name in schema.bit_names]
    return everything[:, chosen], known[:, chosen]
