"""A description as people type it: `man in a red jacket and blue trousers with a backpack, no hat`.

A colour belongs to the garment beside it (`red jacket`, `jacket in red`, `upper-colour red`), `no`, `not` and `without`
negate what follows, and filler words are passed over. Whatever else is not a word of the schema is an error that names
it, and whatever can be read in two ways is asked back: nothing is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from sal_runtime.errors import SchemaError
from sal_runtime.query.schema import NONE_STATE, normalise_word
from sal_runtime.query.vocabulary import Meanings, Vocabulary, are_several, english, quoted, shortened

JOINING = ("not", "or", "and", "with", "filler")
FIRST_OF_CHINESE = "\u2e80"
"""The first character of the scripts that are written without blanks between words."""
OF_CHINESE = "的"
LONGEST_CHINESE = 12
MOST_UNKNOWN = 5
"""Unknown words that a message names."""
LONGEST_PHRASE = 5
"""Words of the longest term in the words of a schema."""

Clause = tuple[bool, Meanings]
"""Whether it is negated, and its alternatives."""


@dataclass(frozen=True)
class _Item:
    """A word or phrase, with the states it may mean and the groups that describe what it names.

    The kind is `word`, that of a word in english.txt, or empty behind the last item. A modifier, such as `red` or
    `long`, needs a garment beside it; a part, such as `short-sleeve`, may have one.
    """

    text: str = ""
    kind: str = ""
    meanings: Meanings = ()
    places: tuple[int, ...] = ()
    is_modifier: bool = False
    is_part: bool = False


def read_sentence(text: str, vocabulary: Vocabulary) -> list[Clause]:
    """The clauses of a sentence, all of which must hold; none if it consists of filler words.

    Raises:
        SchemaError: a word is unknown, or something can be read in several ways.
    """
    return _Reader(_items(text, vocabulary), vocabulary).clauses()


def _items(text: str, vocabulary: Vocabulary) -> list[_Item]:
    """The words of a text, longest phrases first, without filler words."""
    for sign, replacement in ((";", " ; "), ("_", " "), (":", " ")):
        text = text.replace(sign, replacement)
    words = [word.strip(".?()\"'").removesuffix("'s") for word in text.lower().split()]
    words = [word for word in words if word]
    slashed = next((word for word in words if "/" in word and word not in _kinds()), None)
    if slashed is not None:
        raise SchemaError(f"{quoted(slashed)} can be read in two ways; write 'and' or 'or'")
    unknown: list[str] = []
    items: list[_Item] = []
    at = 0
    while at < len(words) and len(unknown) < MOST_UNKNOWN:
        sizes = range(min(LONGEST_PHRASE, len(words) - at), 0, -1)
        found = ((size, _item(words[at : at + size], vocabulary)) for size in sizes)
        size, item = next((pair for pair in found if pair[1] is not None), (0, None))
        pieces = _pieces(words[at], vocabulary)
        if item is not None:
            items.append(item)
            at += size
        elif len(pieces) > 1:
            words[at : at + 1] = pieces
        else:
            unknown.append(words[at])
            at += 1
    if unknown:
        raise vocabulary.unknown(unknown)
    return [item for item in items if item.kind != "filler"]


def _pieces(word: str, vocabulary: Vocabulary) -> list[str]:
    """The known words that hyphens join; or those that Chinese writes without blanks, with what is unknown between."""
    if any(letter < FIRST_OF_CHINESE for letter in word):
        pieces = word.split("-")
        return pieces if all(_item([piece], vocabulary) for piece in pieces) else [word]
    pieces, unknown = [], ""
    while word:
        sizes = range(min(len(word), LONGEST_CHINESE), 0, -1)
        size = next((size for size in sizes if _item([word[:size]], vocabulary)), 0)
        if not size:
            unknown += word[0]
        else:
            pieces += [unknown, word[:size]] if unknown else [word[:size]]
            unknown = ""
        word = word[size or 1 :]
    return [*pieces, unknown] if unknown else pieces


@lru_cache(maxsize=1)
def _kinds() -> dict[str, str]:
    return {word: kind for kind, words, _ in english() if kind in JOINING for word in words}


def _item(words: list[str], vocabulary: Vocabulary) -> _Item | None:
    text = " ".join(words)
    if text in _kinds() and text not in vocabulary.schema.words and text not in vocabulary.schema.group_index:
        return _Item(text, _kinds()[text])
    if len(words) > 1 and _kinds().get(words[0]) == "not" and vocabulary.look_up(" ".join(words[1:]))[0]:
        return None  # `no hat` is a negation, so that `no hat or backpack` negates both
    meanings, places = vocabulary.look_up(text)
    is_modifier = not places and (are_several(meanings) or any(group in vocabulary.colours for group, _ in meanings))
    is_part = not is_modifier and not places and any(group in vocabulary.parts for group, _ in meanings)
    return _Item(text, "word", meanings, places, is_modifier, is_part) if meanings or places else None


class _Reader:
    """Reads clauses from items, from left to right."""

    def __init__(self, items: list[_Item], vocabulary: Vocabulary) -> None:
        self.items = items
        self.vocabulary = vocabulary
        self.at = 0

    def clauses(self) -> list[Clause]:
        """All clauses, up to the last item."""
        found: list[Clause] = []
        while self._next().kind:
            start = self.at
            while self._next().kind in ("and", "with", "not"):
                self.at += 1
            negations = [item.kind for item in self.items[start : self.at]].count("not")
            if not self._next().kind and self.items[-1].text in ";·":
                break
            if negations > 1:
                raise self._unclear(start, "two negations follow each other; write one, as in no hat")
            conditions = self._phrase()
            while self._next().kind == "or":
                self.at += 1
                more = self._phrase()
                if len(conditions) + len(more) > 2:
                    raise self._unclear(start, "one of its alternatives asks for two things; ask for one of them")
                conditions = [conditions[0] + more[0]]
            if negations and len(conditions) > 1:
                raise self._unclear(start, "it negates two things at once; negate one of them, as in no hat")
            ahead = int(self._next().kind == "and")
            if negations and self._next(ahead).kind == "word":
                self.at += ahead + 1
                raise self._unclear(start, "it can be read in two ways; write 'no' or 'with' before each word")
            found += [(negations > 0, condition) for condition in conditions]
        return found

    def _next(self, ahead: int = 0) -> _Item:
        return self.items[self.at + ahead] if self.at + ahead < len(self.items) else _Item()

    def _unclear(self, start: int, why: str) -> SchemaError:
        return SchemaError(f"{quoted(' '.join(item.text for item in self.items[start : self.at]))}: {why}")

    def _phrase(self) -> list[Meanings]:
        """The conditions of a garment with its colours and parts, of a group with its values, or of one word."""
        start, values, parts = self.at, [], list[Meanings]()
        while self._next().is_modifier or self._next().is_part:
            if self._next().is_modifier:
                values.append(self._alternatives())
            else:
                parts.append(self._next().meanings)
                self.at += 1
        noun = self._next()
        if (values or parts) and not noun.places:
            return [*parts, *(tuple(pair for item in value for pair in self._bare(item, noun)) for value in values)]
        if noun.kind != "word":
            raise SchemaError(f"a word is missing in {quoted(' '.join(item.text for item in self.items))}")
        self.at += 1
        if not values and noun.places:
            values = self._values_after(noun)
        meanings = self.vocabulary.meanings_in
        conditions = [tuple(pair for item in value for pair in meanings(noun.places, item.text)) for value in values]
        if noun.meanings and not are_several(noun.meanings):
            conditions.append(noun.meanings)
        if not conditions and not any(self.vocabulary.has_part(noun.text, group) for ((group, _),) in parts):
            raise self._unclear(start, self._what_is_missing(noun))
        return parts + conditions

    def _what_is_missing(self, noun: _Item) -> str:
        """What to write beside a garment, or the name of a group, that asks for nothing alone."""
        group = self.vocabulary.schema.groups[noun.places[0]]
        known = shortened(", ".join(state.name for state in group.states if state.name != NONE_STATE))
        is_name = normalise_word(noun.text) in self.vocabulary.schema.group_index
        if is_name or noun.places[0] not in self.vocabulary.colours:
            return f"needs a value of {group.name}: {known}"
        longer = [f"{name}, or " for name in self.vocabulary.longer_words(noun.text)]
        return f"this bundle knows only its colour; write {''.join(longer)}one of these with it: {known}"

    def _alternatives(self) -> list[_Item]:
        """A modifier and those that `or` joins to it."""
        found = [self._next()]
        self.at += 1
        while self._next().kind == "or" and self._next(1).is_modifier:
            found.append(self._next(1))
            self.at += 2
        if self._next().text == OF_CHINESE:  # a red jacket is red-of jacket
            self.at += 1
        if self._next().kind == "and" and self._next(1).is_modifier:
            self.at += 2
            raise self._unclear(self.at - 3, "it can be read in two ways; write 'or', or a garment beside each")
        return found

    def _bare(self, item: _Item, following: _Item) -> Meanings:
        """The meaning of a modifier without a garment: allowed only where nothing else can be meant."""
        forms = self.vocabulary.forms(item.meanings)
        needs_a_garment = self.vocabulary.needs_a_garment(item.text)
        if following.kind == "word" and (needs_a_garment or are_several(item.meanings)):
            raise SchemaError(f"{quoted(item.text)} does not go with {quoted(following.text)}; write {forms}")
        if needs_a_garment and not are_several(item.meanings):
            raise SchemaError(f"{quoted(item.text)} has no garment beside it; write {forms}")
        return self.vocabulary.only_meanings(item.text)

    def _values_after(self, noun: _Item) -> list[list[_Item]]:
        """The values that follow a garment or a group: `red or blue` of `upper-colour red or blue`."""
        ahead = int(self._next().text == "in")
        if not self._fits(noun, ahead):
            return []
        found = [self._next(ahead)]
        self.at += ahead + 1
        while self._next().kind == "or" and self._fits(noun, 1):
            found.append(self._next(1))
            self.at += 2
        return [found]

    def _fits(self, noun: _Item, ahead: int) -> bool:
        """Whether an item is a value of the noun, and not of a garment that follows it."""
        item = self._next(ahead)
        if noun.meanings and not item.is_modifier:
            return False
        if item.is_modifier and self._next(ahead + 1).places and (noun.meanings or ahead):
            return False
        return any(self.vocabulary.states(group, item.text) for group in noun.places)
