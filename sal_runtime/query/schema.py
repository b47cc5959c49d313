"""The attribute schema: which attributes there are, how they are named, which exclude each other.

A schema is data: it is part of the manifest of every bundle, and people bring their own. An attribute vector has
`num_bits` entries of 0 and 1. A group of the schema owns some of the bits and lists the states they may be in:

* a *binary* group owns one bit and has two states, both named (`male`/`female`, `no-hat`/`hat`);
* an *exclusive* group owns several bits of which at most one is set; if no bit may be set, it has a state `none`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from sal_runtime.arrays import AnyArray, Int64Array, UInt8Array
from sal_runtime.errors import SchemaError

NONE_STATE = "none"
PLAIN_WORDS = "use lower case, '-' and no ',|!='"

Conjunction = Mapping[int, frozenset[int]]
"""Allowed states by group number; groups that it leaves out are unconstrained."""


@dataclass(frozen=True)
class State:
    """A value of a group.

    Attributes:
        name: its word.
        bit: the bit that it sets, if any.
        aliases: other words for it.
    """

    name: str
    bit: int | None
    aliases: tuple[str, ...] = ()

    def words(self) -> tuple[str, ...]:
        """All words a query may use for this state."""
        return (self.name, *self.aliases)


@dataclass(frozen=True)
class Group:
    """One question about a person (`gender`, `backpack`, `upper-colour`) and its answers.

    Attributes:
        name: unique in the schema.
        kind: `binary` (states: absent, present) or `exclusive`.
        states: the answers, in vector order; `none` of an exclusive group is the last.
        sensitive: whether it is a protected or sensitive characteristic (gender, age, ...), which is marked wherever it
            is shown.
        aliases: other names of the group.
    """

    name: str
    kind: Literal["binary", "exclusive"]
    states: tuple[State, ...]
    sensitive: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def bits(self) -> tuple[int, ...]:
        """Indices of the bits of the attribute vector that this group owns."""
        return tuple(state.bit for state in self.states if state.bit is not None)


def binary(
    name: str,
    bit: int,
    *,
    absent: str | None = None,
    present: str | None = None,
    sensitive: bool = False,
    aliases: Sequence[str] = (),
    absent_aliases: Sequence[str] = (),
    present_aliases: Sequence[str] = (),
) -> Group:
    """A group of one bit. Its states are called `no-NAME` and `NAME` by default.

    >>> [state.name for state in binary("hat", 3).states]
    ['no-hat', 'hat']
    """
    states = (
        State(absent or f"no-{name}", None, tuple(absent_aliases)),
        State(present or name, bit, tuple(present_aliases)),
    )
    return Group(name, "binary", states, sensitive, tuple(aliases))


def exclusive(
    name: str,
    bits: Mapping[str, int],
    *,
    allow_none: bool,
    sensitive: bool = False,
    aliases: Sequence[str] = (),
    state_aliases: Mapping[str, Sequence[str]] | None = None,
) -> Group:
    """A group of several bits, at most one of which is set; `bits` maps the word of each state to its bit."""
    extra = state_aliases or {}
    states = [State(word, bit, tuple(extra.get(word, ()))) for word, bit in bits.items()]
    if allow_none:
        states.append(State(NONE_STATE, None, tuple(extra.get(NONE_STATE, ()))))
    return Group(name, "exclusive", tuple(states), sensitive, tuple(aliases))


def normalise_word(word: str) -> str:
    """Lower case, with `-` for blanks and underscores, so that `Upper_Colour` and `upper colour` are one word."""
    return "-".join(word.strip().lower().replace("_", " ").split())


def _is_plain(word: str) -> bool:
    """Whether a query can contain the word and a terminal can print it."""
    return bool(word) and word.isprintable() and word == normalise_word(word) and not set(word) & set(",|!=")


@dataclass(frozen=True)
class AttributeSchema:
    """The ordered groups of a data set.

    Raises:
        SchemaError: two groups share a name or a bit, bits do not number 0..num_bits-1, a binary group does not have
            exactly an absent and a present state, or a word repeats inside a group.
    """

    name: str
    groups: tuple[Group, ...]

    def __post_init__(self) -> None:
        names: set[str] = set()
        for group in self.groups:
            for word in (group.name, *group.aliases):
                if not _is_plain(word):
                    raise SchemaError(f"schema {self.name!r}: {word!r} cannot name a group; {PLAIN_WORDS}")
                if word in names:
                    raise SchemaError(f"schema {self.name!r}: two groups are called {word!r}; rename one")
                names.add(word)
            _check_states(self.name, group)
        owned = [bit for group in self.groups for bit in group.bits]
        if sorted(owned) != list(range(len(owned))):
            raise SchemaError(
                f"schema {self.name!r}: the groups own the bits {sorted(owned)}, expected each of "
                f"0..{len(owned) - 1} exactly once; give every attribute its own bit"
            )

    @cached_property
    def num_bits(self) -> int:
        """Length of an attribute vector."""
        return sum(len(group.bits) for group in self.groups)

    @cached_property
    def bit_names(self) -> tuple[str, ...]:
        """A unique name for each bit, in vector order: `hat` for binary groups, `upper-colour=red` for exclusive."""
        names = [""] * self.num_bits
        for group in self.groups:
            for state in group.states:
                if state.bit is not None:
                    names[state.bit] = state.name if group.kind == "binary" else f"{group.name}={state.name}"
        return tuple(names)

    @cached_property
    def group_index(self) -> dict[str, int]:
        """Position of a group by its name or any alias."""
        return {word: i for i, group in enumerate(self.groups) for word in (group.name, *group.aliases)}

    @cached_property
    def words(self) -> dict[str, tuple[tuple[int, int], ...]]:
        """Every word for a state, with the (group number, state number) pairs it may mean."""
        table: dict[str, list[tuple[int, int]]] = {}
        for group_number, group in enumerate(self.groups):
            for state_number, state in enumerate(group.states):
                for word in state.words():
                    table.setdefault(word, []).append((group_number, state_number))
        return {word: tuple(pairs) for word, pairs in table.items()}

    def vectors_from_states(self, states: Int64Array) -> UInt8Array:
        """Attribute vectors uint8 `[..., num_bits]` of states int64 `[..., num_groups]`."""
        states = np.asarray(states)
        vectors = np.zeros((*states.shape[:-1], self.num_bits), dtype=np.uint8)
        for number, group in enumerate(self.groups):
            for state_number, state in enumerate(group.states):
                if state.bit is not None:
                    vectors[..., state.bit] = states[..., number] == state_number
        return vectors

    def check_vectors(self, vectors: AnyArray) -> UInt8Array:
        """The vectors as uint8.

        Raises:
            SchemaError: they are not `[..., num_bits]`, or hold other values than 0 and 1.
        """
        vectors = np.asarray(vectors)
        if vectors.ndim == 0 or vectors.shape[-1] != self.num_bits:
            raise SchemaError(
                f"attribute vectors have shape {vectors.shape}, expected [..., {self.num_bits}], schema {self.name!r}"
            )
        if not np.isin(vectors, (0, 1)).all():
            raise SchemaError(f"attribute vectors hold values other than 0 and 1 (schema {self.name!r})")
        return vectors.astype(np.uint8)

    def qualified(self, group_number: int, word: str) -> str:
        """`word` if it is unique in the schema, else `group=word`."""
        group = self.groups[group_number]
        return word if len(self.words.get(word, ())) == 1 else f"{group.name}={word}"

    def to_json(self) -> dict[str, Any]:
        """The schema as JSON; `from_json` reads it back."""
        return {"name": self.name, "groups": [asdict(group) for group in self.groups]}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> AttributeSchema:
        """Read a schema from the form that `to_json` writes.

        Raises:
            SchemaError: a key is missing or the schema is inconsistent.
        """
        try:
            groups = tuple(
                Group(
                    name=str(group["name"]),
                    kind=group["kind"],
                    states=tuple(
                        State(str(state["name"]), state["bit"], tuple(state.get("aliases", ())))
                        for state in group["states"]
                    ),
                    sensitive=bool(group.get("sensitive", False)),
                    aliases=tuple(group.get("aliases", ())),
                )
                for group in data["groups"]
            )
            return AttributeSchema(str(data["name"]), groups)
        except (KeyError, TypeError, AttributeError) as error:
            raise SchemaError(f"not an attribute schema: {error!r} while reading it") from error


def _check_states(schema_name: str, group: Group) -> None:
    where = f"schema {schema_name!r}, group {group.name!r}"
    words = [word for state in group.states for word in state.words()]
    if len(set(words)) != len(words):
        raise SchemaError(f"{where}: a word is used for two states; rename one")
    for word in words:
        if not _is_plain(word):
            raise SchemaError(f"{where}: {word!r} cannot name a state; {PLAIN_WORDS}")
    bits = [state.bit for state in group.states]
    if group.kind == "binary":
        if len(bits) != 2 or bits[0] is not None or bits[1] is None:
            raise SchemaError(f"{where}: a binary group has an absent state (no bit), then a present one (one bit)")
    elif group.kind == "exclusive":
        if len(group.bits) < 2 or bits.count(None) > 1:
            raise SchemaError(f"{where}: an exclusive group has two bits or more and at most one state without a bit")
    else:
        raise SchemaError(f"{where}: kind is {group.kind!r}, expected 'binary' or 'exclusive'")
