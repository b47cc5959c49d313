"""Queries that nobody would write: random text, operators in any order, endless repetition; and valid ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sal_runtime.query.schema import AttributeSchema

OPERATORS = (",", "|", "!", "=")
BLANKS = (
    " ",
    "\t",
    "\n",
    "\r",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x85",
    "\xa0",
    "\u2003",
    "\u2028",
    "\u3000",
    "\u200b",
    "\ufeff",
)
ODD_CHARACTERS = (
    "\x00\x07\x08\x1b\x7f\x9b"  # control characters
    "\ud800\udfff"  # halves of surrogate pairs, which no encoding holds
    "\u202e\u2066\u200f"  # right to left
    "\u0301\u0489\u20dd\ufe0f"  # combining
    "\u05d0\u0627\U0001f9cd\U0010ffff\ufffe"
    "\uff0c\uff5c\uff01\uff1d\uff41"  # full-width , | ! = a
    "\u00df\u1e9e\u0131\u0130\u017f\u212a\u03a3\u03c2\u0149\u01f0"  # letters whose other case is longer or not theirs
)
ESCAPES = ("\x1b[2J", "\x1b]0;title\x07", "\r\n", "%s%n", "{0}", "../..", "'; --", "<script>", "[bold red]", "\\", '"')


@dataclass(frozen=True)
class Vocabulary:
    """What a schema understands.

    Attributes:
        words: every way to write a state: with each name of its group, and alone where it is unique.
        bare: every word of a state.
        names: of the groups.
        groups: for each the states, with its name.
    """

    words: list[str]
    bare: list[str]
    names: list[str]
    groups: list[list[str]]

    @staticmethod
    def of(schema: AttributeSchema) -> Vocabulary:
        named = [(name, group) for group in schema.groups for name in (group.name, *group.aliases)]
        grouped = [f"{name}={word}" for name, group in named for state in group.states for word in state.words()]
        unique = [word for word, meanings in schema.words.items() if len(meanings) == 1]
        groups = [[f"{group.name}={state.name}" for state in group.states] for group in schema.groups]
        return Vocabulary(grouped + unique, list(schema.words), [name for name, _ in named], groups)


Kind = Callable[[random.Random, Vocabulary], str]


def hostile_query(number: int, vocabulary: Vocabulary) -> str:
    """The query of this number, always the same."""
    return _query(number, vocabulary, KINDS)


def mostly_valid_query(number: int, vocabulary: Vocabulary) -> str:
    """One that follows the grammar; it may still contradict itself or ask for too much."""
    return _query(number, vocabulary, {_valid: 90, _multiplied: 10})


def _query(number: int, vocabulary: Vocabulary, kinds: Mapping[Kind, int]) -> str:
    rng = random.Random(number)
    (kind,) = rng.choices(tuple(kinds), tuple(kinds.values()))
    return kind(rng, vocabulary)


def _noise(rng: random.Random, _: Vocabulary) -> str:
    planes = (lambda: rng.randrange(0x20), lambda: rng.randrange(0x80), lambda: rng.randrange(0x3000))
    anything = [chr(rng.choice((*planes, lambda: rng.randrange(0x110000)))()) for _ in range(rng.randint(0, 40))]
    return "".join(rng.choice((one, one, rng.choice(ODD_CHARACTERS), rng.choice(OPERATORS))) for one in anything)


def _tokens(rng: random.Random, vocabulary: Vocabulary) -> str:
    """Words, groups, operators and rubbish in any order."""
    known = (vocabulary.words, vocabulary.names, vocabulary.bare)
    sources = (*known, OPERATORS, OPERATORS, OPERATORS, BLANKS, ESCAPES, ODD_CHARACTERS)
    return "".join(rng.choice(rng.choice(sources)) for _ in range(rng.randint(1, 25)))


def _mutated(rng: random.Random, vocabulary: Vocabulary) -> str:
    """A valid query with a few characters changed."""
    characters = list(_valid(rng, vocabulary))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(characters) + 1)
        new = rng.choice((rng.choice(OPERATORS), rng.choice(BLANKS), rng.choice(ODD_CHARACTERS), rng.choice(ESCAPES)))
        characters[at : at + rng.randint(0, 2)] = [new] if rng.random() < 0.8 else []
    return "".join(characters)


def _valid(rng: random.Random, vocabulary: Vocabulary) -> str:
    """Of the grammar; it may still contradict itself or ask for too much."""
    few = rng.choices(vocabulary.words, k=rng.randint(1, len(vocabulary.words)))
    terms = []
    for _ in range(rng.choice((1, 1, 2, 2, 3, 4, 9))):
        alternatives = "|".join(rng.choices(few, k=rng.choice((1, 1, 1, 2, 3, 8))))
        terms.append(rng.choice(("", "", "!", " ! ")) + _odd_case(rng, alternatives))
    return rng.choice((",", " , ", ",,")).join(terms)


def _odd_case(rng: random.Random, text: str) -> str:
    changed = rng.choice((str, str.upper, str.title, str.swapcase, lambda one: one.replace("-", "_")))(text)
    blank = rng.choice(BLANKS[:-2])
    return changed.replace("|", f"{blank}|{blank}") if rng.random() < 0.3 else changed


def _repeated(rng: random.Random, vocabulary: Vocabulary) -> str:
    """Up to 10,000 terms or alternatives; short words, so that many are within the allowed length."""
    words = sorted(vocabulary.words, key=len)[: rng.randint(1, 30)]
    count = rng.choice((10, 65, 100, 400, 600, 1000, 10_000))
    length = rng.choice((1, 1, 2, 3, 64))
    terms = ["|".join(rng.choices(words, k=length)) for _ in range(max(count // length, 1))]
    text = rng.choice((",", ",!", "|", "=", ",,")).join(terms)
    return text if rng.random() < 0.2 else text[:4096].rpartition(",")[0] or text[:4096]


def _one_character(rng: random.Random, _: Vocabulary) -> str:
    """One character or token, as long as is read, or megabytes of it."""
    token = rng.choice((*OPERATORS, *BLANKS, *ODD_CHARACTERS, *ESCAPES, "a", "no-", "upper="))
    length = rng.choice((1, 100, 4095, 4096, 4097)) if rng.random() < 0.95 else rng.choice((1_000_000, 3_000_000))
    return (token * (length // len(token) + 1))[:length]


def _multiplied(rng: random.Random, vocabulary: Vocabulary) -> str:
    """Terms of alternatives in different groups, whose product explodes."""
    groups = vocabulary.groups
    terms = []
    for _ in range(rng.choice((2, 3, 6, 7, 12, 100))):
        chosen = rng.sample(groups, rng.choice((2, 2, 2, min(4, len(groups)), len(groups))))
        states = [state for group in chosen for state in rng.sample(group, rng.randint(1, len(group) - 1))]
        rng.shuffle(states)
        terms.append("|".join(states))
    return ",".join(terms)


KINDS: dict[Kind, int] = {
    _noise: 15,
    _tokens: 20,
    _mutated: 25,
    _valid: 25,
    _multiplied: 8,
    _one_character: 4,
    _repeated: 3,
}
"""How often each kind comes, in per cent."""
