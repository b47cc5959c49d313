"""Queries that nobody would write: random text, operators in any order, endless repetition, and valid ones among them."""

from __future__ import annotations

import random
from collections.abc import Callable

from sal_runtime.schema import AttributeSchema

OPERATORS = (",", "|", "!", "=")
BLANKS = (" ", "\t", "\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\xa0", "\u2003", "\u2028", "\u3000", "\u200b", "\ufeff")
ODD_CHARACTERS = (
    "\x00\x07\x08\x1b\x7f\x9b"  # control characters
    "\ud800\udfff"  # halves of surrogate pairs, which no encoding holds
    "\u202e\u2066\u200f"  # right to left
    "\u0301\u0489\u20dd\ufe0f"  # combining
    "\u05d0\u0627\U0001f9cd\U0010ffff\ufffe"
    "\uff0c\uff5c\uff01\uff1d\uff41"  # full-width , | ! = a
    "ßẞıİſKΣςŉǰ"  # their lower or upper case is longer, or another letter
)
ESCAPES = ("\x1b[2J", "\x1b]0;title\x07", "\r\n", "%s%n", "{0}", "../..", "'; --", "<script>", "[bold red]", "\\", '"')


def hostile_query(number: int, schema: AttributeSchema) -> str:
    """The query of this number, always the same."""
    rng = random.Random(number)
    kinds = rng.choices(tuple(KINDS), tuple(KINDS.values()))
    return kinds[0](rng, schema)


def valid_words(schema: AttributeSchema) -> list[str]:
    """Every way to write a state: with each name of its group, and alone where it is unique."""
    grouped = [
        f"{name}={word}"
        for group in schema.groups
        for name in (group.name, *group.aliases)
        for state in group.states
        for word in state.words()
    ]
    return grouped + [word for word, meanings in schema.words.items() if len(meanings) == 1]


def _noise(rng: random.Random, _: AttributeSchema) -> str:
    planes = (lambda: rng.randrange(0x20), lambda: rng.randrange(0x80), lambda: rng.randrange(0x3000))
    anything = [chr(rng.choice((*planes, lambda: rng.randrange(0x110000)))()) for _ in range(rng.randint(0, 40))]
    return "".join(rng.choice((one, one, rng.choice(ODD_CHARACTERS), rng.choice(OPERATORS))) for one in anything)


def _tokens(rng: random.Random, schema: AttributeSchema) -> str:
    """Words, groups, operators and rubbish in any order."""
    words = valid_words(schema)
    groups = [name for group in schema.groups for name in (group.name, *group.aliases)]
    sources = (words, groups, OPERATORS, OPERATORS, OPERATORS, BLANKS, ESCAPES, ODD_CHARACTERS, list(schema.words))
    return "".join(rng.choice(rng.choice(sources)) for _ in range(rng.randint(1, 25)))


def _mutated(rng: random.Random, schema: AttributeSchema) -> str:
    """A valid query with a few characters changed."""
    characters = list(_valid(rng, schema))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(characters) + 1)
        new = rng.choice((rng.choice(OPERATORS), rng.choice(BLANKS), rng.choice(ODD_CHARACTERS), rng.choice(ESCAPES)))
        characters[at : at + rng.randint(0, 2)] = [new] if rng.random() < 0.8 else []
    return "".join(characters)


def _valid(rng: random.Random, schema: AttributeSchema) -> str:
    """Of the grammar; it may still contradict itself or ask for too much."""
    words = valid_words(schema)
    few = rng.choices(words, k=rng.randint(1, len(words)))
    terms = []
    for _ in range(rng.choice((1, 1, 2, 2, 3, 4, 9))):
        alternatives = "|".join(rng.choices(few, k=rng.choice((1, 1, 1, 2, 3, 8))))
        terms.append(rng.choice(("", "", "!", " ! ")) + _odd_case(rng, alternatives))
    return rng.choice((",", " , ", ",,")).join(terms)


def _odd_case(rng: random.Random, text: str) -> str:
    changed = rng.choice((str, str.upper, str.title, str.swapcase, lambda one: one.replace("-", "_")))(text)
    blank = rng.choice(BLANKS[:-2])
    return changed.replace("|", f"{blank}|{blank}") if rng.random() < 0.3 else changed


def _repeated(rng: random.Random, schema: AttributeSchema) -> str:
    """Up to 10,000 terms or alternatives; short words, so that many are within the allowed length."""
    words = sorted(valid_words(schema), key=len)[: rng.randint(1, 30)]
    count = rng.choice((10, 65, 100, 400, 600, 1000, 10_000))
    length = rng.choice((1, 1, 2, 3, 64))
    terms = ["|".join(rng.choices(words, k=length)) for _ in range(max(count // length, 1))]
    text = rng.choice((",", ",!", "|", "=", ",,")).join(terms)
    return text if rng.random() < 0.2 else text[:4096].rpartition(",")[0] or text[:4096]


def _one_character(rng: random.Random, _: AttributeSchema) -> str:
    """One character or token, as long as is read, or megabytes of it."""
    token = rng.choice((*OPERATORS, *BLANKS, *ODD_CHARACTERS, *ESCAPES, "a", "no-", "upper="))
    length = rng.choice((1, 100, 4095, 4096, 4097)) if rng.random() < 0.95 else rng.choice((1_000_000, 3_000_000))
    return (token * (length // len(token) + 1))[:length]


def _multiplied(rng: random.Random, schema: AttributeSchema) -> str:
    """Terms of alternatives in different groups, whose product explodes."""
    groups = [[f"{group.name}={state.name}" for state in group.states] for group in schema.groups]
    terms = []
    for _ in range(rng.choice((2, 3, 6, 7, 12, 100))):
        chosen = rng.sample(groups, rng.choice((2, 2, 2, min(4, len(groups)), len(groups))))
        states = [state for group in chosen for state in rng.sample(group, rng.randint(1, len(group) - 1))]
        rng.shuffle(states)
        terms.append("|".join(states))
    return ",".join(terms)


KINDS: dict[Callable[[random.Random, AttributeSchema], str], int] = {
    _noise: 15,
    _tokens: 20,
    _mutated: 25,
    _valid: 25,
    _multiplied: 8,
    _one_character: 4,
    _repeated: 3,
}
"""How often each kind comes, in per cent."""
