"""The words of a schema, with everyday English (english.txt) for whatever it knows.

The schema's own words always win. `lady` is added where a group knows `female`, `jacket` where there is `upper-colour`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sal_runtime.errors import SchemaError
from sal_runtime.query.schema import AttributeSchema, Group, normalise_word

SHORTEST_TYPO, LONG_WORD = 4, 6
"""Letters of the shortest word for which a similar one is suggested, and of a word that may have two slips."""
SHORTEST_PERSON = 5
"""Letters of the shortest word of a sensitive group that is suggested: nobody who writes `mean` asks for men."""
NUM_SUGGESTIONS = 3
LONGEST_QUOTE = 40
"""Characters of the query that a message repeats; an escaped character takes up to ten."""
LONGEST_LIST = 300
"""Characters of a list of words in a message."""

Meanings = tuple[tuple[int, int], ...]
"""(group number, state number) pairs that a word may mean."""


@dataclass(frozen=True)
class Vocabulary:
    """What a schema understands.

    Attributes:
        schema: its groups.
        words: the meanings of every word of a state. Those in one group are alternatives, as `adult` is any of two
            ages; where there are several groups, it is not known which is meant.
        in_group: for each group the states of every word that names one of its states, or any of several.
        places: for every word that names what a state can be said of, the numbers of its groups.
        colours: numbers of the groups that give the colour of a garment, of shoes or of hair.
        parts: for each group that says something of a part of garments (the sleeve), the words of these garments.
    """

    schema: AttributeSchema
    words: dict[str, Meanings]
    in_group: tuple[dict[str, tuple[int, ...]], ...]
    places: dict[str, tuple[int, ...]]
    colours: frozenset[int]
    parts: dict[int, frozenset[str]]

    def needs_a_garment(self, word: str) -> bool:
        """Whether a word is a colour that could be said of several things; `blonde` is only said of hair."""
        is_colour = len(self.colours) > 1 and any(group in self.colours for group, _ in self.look_up(word)[0])
        return is_colour and not any(kind == "alone" and normalise_word(word) in words for kind, words, _ in english())

    def look_up(self, word: str) -> tuple[Meanings, tuple[int, ...]]:
        """What a word, in the singular or the plural, may mean, and the groups that describe what it names."""
        form = self._known_form(word)
        return self.words.get(form, ()), self.places.get(form, ())

    def has_part(self, garment: str, group: int) -> bool:
        """Whether a group says something of a part of a garment, as `sleeve` does of a shirt."""
        return self._known_form(garment) in self.parts.get(group, ())

    def _known_form(self, word: str) -> str:
        return next((form for form in _forms(word) if form in self.words or form in self.places), "")

    def states(self, group: int, word: str) -> tuple[int, ...]:
        """The states of one group that a word may mean; none if the group does not know it."""
        return self.in_group[group].get(self._known_form(word), ())

    def meanings_in(self, groups: tuple[int, ...], word: str) -> Meanings:
        """What a word means in the first group that knows it; a SchemaError if none does."""
        for number in groups:
            if states := self.states(number, word):
                return tuple((number, state) for state in states)
        group = self.schema.groups[groups[0]]
        near = self._near(normalise_word(word), self.in_group[groups[0]])
        known = shortened(", ".join(value.name for value in group.states))
        remedy = f"did you mean {' or '.join(near)}?" if near else f"it is one of {known}"
        raise SchemaError(f"{group.name} cannot be {quoted(word)}; {remedy}", parameter="words")

    def only_meanings(self, word: str) -> Meanings:
        """What a word means that needs no group; a SchemaError if it is unknown or several groups know it."""
        meanings, _ = self.look_up(word)
        if not meanings:
            raise self.unknown([word])
        if are_several(meanings):
            raise SchemaError(f"{quoted(word)} could be {self.forms(meanings)}; write the one you mean")
        return meanings

    def forms(self, meanings: Meanings) -> str:
        """Meanings in the exact form, as alternatives."""
        states = [(self.schema.groups[group], state) for group, state in meanings]
        return shortened(" or ".join(f"{group.name}={group.states[state].name}" for group, state in states))

    def unknown(self, words: Sequence[str], known: Iterable[str] | None = None, what: str = "") -> SchemaError:
        """The error that names unknown words, with similar words of `known` (all words) if there are any."""
        known = {*self.words, *self.places} if known is None else known
        near = [other for word in words for other in self._near(normalise_word(word), known)]
        longer = [other for word in words for other in self.longer_words(normalise_word(word))]
        remedy = f"did you mean {' or '.join(near)}?" if near else "see the list of its words"
        remedy = f"it knows {shortened(', '.join(longer))}" if longer and not near else remedy
        *others, last = dict.fromkeys(map(quoted, words))
        named = f"{shortened(', '.join(others))} and {last}" if others else last
        return SchemaError(f"this bundle does not know {what}{named}; {remedy}", parameter="words")

    def longer_words(self, word: str) -> list[str]:
        """Names of states in which a word is joined to others, as `short-skirt` for `skirt`; never a kind of person."""
        groups = [group for group in self.schema.groups if not group.sensitive]
        names = [state.name for group in groups for state in group.states if state.bit is not None]
        return [name for name in names if word in name.split("-") and word != name]

    def _near(self, word: str, known: Iterable[str]) -> list[str]:
        """The known words that `word` may be a slip of, the nearest first."""
        found = []
        for other in known if len(word) >= SHORTEST_TYPO else ():
            groups = {*(group for group, _ in self.words.get(other, ())), *self.places.get(other, ())}
            is_sensitive = any(self.schema.groups[group].sensitive for group in groups)
            limit = 2.0 if len(word) >= LONG_WORD and not is_sensitive else 1.0 if is_sensitive else 1.5
            if abs(len(other) - len(word)) > limit or (is_sensitive and len(other) < SHORTEST_PERSON):
                continue
            distance = _slips(word, other)
            if distance <= limit and (word[0] == other[0] or word == other[1:]):
                found.append((distance, other))
        return [other for _, other in sorted(found)][:NUM_SUGGESTIONS]


def are_several(meanings: Meanings) -> bool:
    """Whether meanings are in several groups, so that a word must be asked back."""
    return len({group for group, _ in meanings}) > 1


def quoted(text: str) -> str:
    """The beginning of a text, with escapes for characters that should not reach a terminal."""
    text = text.strip()
    return repr(text[:LONGEST_QUOTE]) + ("..." if len(text) > LONGEST_QUOTE else "")


def shortened(words: str) -> str:
    """A list of words that fits into a message."""
    return words if len(words) <= LONGEST_LIST else f"{words[:LONGEST_LIST]}..."


@lru_cache(maxsize=1)
def english() -> tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]:
    """The lines of english.txt: their first word, the words before the ` / `, and those after it."""
    lines = Path(__file__).with_name("english.txt").read_text(encoding="utf-8").splitlines()
    halves = [map(str.split, line.partition(" / ")) for line in lines if not line.startswith("#")]
    return tuple((words[0], tuple(words[1:]), tuple(others)) for words, _, others in halves)


@lru_cache(maxsize=16)
def vocabulary_of(schema: AttributeSchema) -> Vocabulary:
    """The vocabulary of a schema: its own words and everyday English."""
    in_group = tuple(_words_in_group(group) for group in schema.groups)
    words = _words_of_any_group(schema, in_group)
    places: dict[str, tuple[int, ...]] = {word: (number,) for word, number in schema.group_index.items()}
    colours: set[int] = set()
    parts: dict[int, frozenset[str]] = {}
    for kind, names, nouns in english():
        for group in {schema.group_index[name] for name in names if name in schema.group_index}:
            if kind == "part":
                parts[group] = frozenset(nouns)
            if kind in ("colour", "detail"):
                colours |= {group} if kind == "colour" else set()
                for noun in nouns:
                    places[noun] = tuple(dict.fromkeys((*places.get(noun, ()), group)))
    return Vocabulary(schema, words, in_group, places, frozenset(colours), parts)


def _words_in_group(group: Group) -> dict[str, tuple[int, ...]]:
    own = {word: (index,) for index, state in enumerate(group.states) for word in state.words()}
    added: dict[str, tuple[int, ...]] = {}
    for kind, words, others in english():
        if kind == "any" and own.keys() >= set(others):
            added |= dict.fromkeys(words, tuple(index for word in others for index in own[word]))
        if kind == "same" and (known := next(filter(own.__contains__, words), None)) is not None:
            added |= dict.fromkeys((*words, *others), own[known])
    return added | own


def _words_of_any_group(
    schema: AttributeSchema, in_group: Sequence[Mapping[str, tuple[int, ...]]]
) -> dict[str, Meanings]:
    """The meanings of every word in all groups; synonyms mean what the first known word of their line means."""
    found: dict[str, Meanings] = {}
    for number, known in enumerate(in_group):
        for word, states in known.items():
            found[word] = (*found.get(word, ()), *((number, state) for state in states))
    for kind, words, others in english():
        first = next((word for word in words if word in schema.words), None)
        if kind == "same" and first is not None:
            found |= dict.fromkeys((*words, *others), schema.words[first])
    return found | schema.words


def _forms(word: str) -> Iterator[str]:
    """A word as it was normalised, then as a singular and as a plural."""
    word = normalise_word(word)
    yield word
    for ending, singular in (("ies", "y"), ("s", ""), ("es", "")):
        if word.endswith(ending):
            yield word.removesuffix(ending) + singular
    yield f"{word}s"


def _slips(first: str, second: str) -> float:
    """Distance of two words in slips of the finger: a letter left out, added or swapped is 1, a wrong letter 1.5."""
    rows = [[float(column) for column in range(len(second) + 1)]]
    for i, letter in enumerate(first, 1):
        row = [float(i)]
        for j, other in enumerate(second, 1):
            best = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (0 if letter == other else 1.5))
            if i > 1 and j > 1 and letter == second[j - 2] and other == first[i - 2]:
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]
