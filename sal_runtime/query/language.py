"""The query language: `male,backpack,!hat,upper=red|blue`, or `man in a red jacket with a backpack, no hat`.

    query       = part ("," part)*                       all parts must hold
    part        = term | sentence                        sentence.py reads what is not a term
    term        = ["!"] alternative ("|" alternative)*   one alternative must hold; with "!" none may hold
    alternative = [group "="] word                       a word that is unique needs no group

Inside a term the group carries over: `upper=red|blue`. Blanks, case and underscores do not matter. Attributes that a
query leaves out are unconstrained. docs/query_language.md explains all of it.
"""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sal_runtime.errors import SchemaError
from sal_runtime.query.schema import AttributeSchema, Conjunction
from sal_runtime.query.vocabulary import Vocabulary, quoted, shortened, vocabulary_of

MAX_CONJUNCTIONS = 64
MAX_QUERY_LENGTH = 4096
MAX_TERMS = 128
"""Scores take memory for each term and image, and no data set has so many groups."""
ASCII = dict(zip(range(0xFF01, 0xFF5F), range(0x21, 0x7F), strict=True)) | {0x3001: ",", 0x3002: ".", 0x2019: "'"}
"""Letters and punctuation of Chinese and Japanese keyboards, and the apostrophe of typesetters, in ASCII."""


@dataclass(frozen=True)
class Term:
    """One comma-separated part of a query.

    Attributes:
        text: the term in full words.
        negated: whether it began with `!`.
        states: the states that it names, as (group number, state numbers) in group order. One of them must hold; none
            may hold if the term is negated.
    """

    text: str
    negated: bool
    states: tuple[tuple[int, frozenset[int]], ...]


@dataclass(frozen=True)
class Query:
    """A parsed query.

    Attributes:
        text: the query as given.
        terms: in the order given, without repetitions; all must hold.
        conjunctions: the same condition as alternatives, of which exactly one holds for a person who fits. Each maps
            group numbers to allowed states.
        notes: one for each colour that named no garment and could only be read in one way.
    """

    text: str
    terms: tuple[Term, ...]
    conjunctions: tuple[Conjunction, ...]
    notes: tuple[str, ...] = ()

    @property
    def understood(self) -> str:
        """The terms in full words, a query in the exact form."""
        return ",".join(term.text for term in self.terms)


def parse_query(text: str, schema: AttributeSchema) -> Query:
    """Parse a query.

    Raises:
        SchemaError: it is empty or too long, a word is unknown (the message suggests what is near in spelling) or
            can be read in several ways, two terms contradict each other, or it has more than 128 terms, or 64
            alternatives when multiplied out. The message is one line of at most 1,000 printable characters.
    """
    if len(text) > MAX_QUERY_LENGTH:
        raise SchemaError(f"the query is {len(text)} characters long, at most {MAX_QUERY_LENGTH} are read; shorten it")
    vocabulary = vocabulary_of(schema)
    parts = [part.strip() for part in unicodedata.normalize("NFC", text).translate(ASCII).split(",")]
    terms = tuple(dict.fromkeys(term for part in parts if part for term in _parse_part(part, vocabulary)))
    if not terms:
        what = f"{quoted(text)} names nothing to look for" if any(parts) else "the query is empty"
        raise SchemaError(f"{what}; name at least one attribute, as in male,backpack,!hat")
    if len(terms) > MAX_TERMS:
        raise SchemaError(f"the query has more than {MAX_TERMS} terms; leave some out")
    notes = tuple(dict.fromkeys(note for part in parts for note in _colour_notes(part, vocabulary)))
    return Query(text, terms, _multiply_out(terms, schema), notes)


def _parse_part(part: str, vocabulary: Vocabulary) -> list[Term]:
    """The terms of what is between two commas: one in the exact form, or those of a sentence."""
    negated = part.startswith("!")
    body = part[1:] if negated else part
    words = body.split("|")
    exact = "=" in body or "!" in body or not all(word.strip() for word in words)
    if exact or all(vocabulary.look_up(word)[0] for word in words):
        return [_term(negated, _exact_states(words, part, vocabulary), part, vocabulary.schema)]
    from sal_runtime.query.sentence import read_sentence  # the exact form needs none of it

    clauses = read_sentence(("not " if negated else "") + body.replace("|", " or "), vocabulary)
    return [_term(*clause, part, vocabulary.schema) for clause in clauses]


def _colour_notes(part: str, vocabulary: Vocabulary) -> Iterator[str]:
    """A note if a part is a colour alone that this schema knows of one garment only."""
    words = [] if "=" in part else part.removeprefix("!").split("|")
    for word in filter(vocabulary.needs_a_garment, words):
        for group, _ in vocabulary.look_up(word)[0]:
            yield f"{quoted(part)} names no garment; it was read as {vocabulary.schema.groups[group].name}"


def _exact_states(words: list[str], part: str, vocabulary: Vocabulary) -> list[tuple[int, int]]:
    """The (group, state) pairs of the alternatives of one term; a group carries over to the words after it."""
    groups: tuple[int, ...] = ()
    pairs: list[tuple[int, int]] = []
    for alternative in words:
        name, separator, word = alternative.rpartition("=")
        if "=" in name and " " in alternative.strip():
            raise SchemaError(f"cannot read {quoted(part)}; put a comma between two conditions, as in hat, upper=red")
        if "!" in alternative or "=" in name:
            raise SchemaError(
                f"cannot read {quoted(part)}; write it like !hat or upper=red|blue, with '!' in front of the term"
            )
        if not word.strip() or (separator and not name.strip()):
            raise SchemaError(f"a word is missing in {quoted(part)}; write it like hat or upper=red|blue")
        if separator:
            _, groups = vocabulary.look_up(name)
            if not groups:
                raise vocabulary.unknown([name], vocabulary.places, "the attribute ")
        pairs += vocabulary.meanings_in(groups, word) if groups else vocabulary.only_meanings(word)
    return pairs


def _term(negated: bool, named: Iterable[tuple[int, int]], part: str, schema: AttributeSchema) -> Term:
    states: dict[int, set[int]] = {}
    for group, state in named:
        states.setdefault(group, set()).add(state)
    pairs = tuple((number, frozenset(chosen)) for number, chosen in sorted(states.items()))
    for number, chosen in pairs:
        if len(chosen) == len(schema.groups[number].states):
            what = "nothing" if negated else "everything"
            name = schema.groups[number].name
            raise SchemaError(f"{quoted(part)} names every value of {name}, so it allows {what}; leave it out")
    return Term(_term_text(negated, pairs, schema), negated, pairs)


def _term_text(negated: bool, pairs: Iterable[tuple[int, frozenset[int]]], schema: AttributeSchema) -> str:
    words: list[str] = []
    for number, states in pairs:
        for name in (schema.groups[number].states[state].name for state in sorted(states)):
            # the group of the word before carries over, so this word must name its own
            carried = bool(words) and "=" in words[-1]
            words.append(f"{schema.groups[number].name}={name}" if carried else schema.qualified(number, name))
    return ("!" if negated else "") + "|".join(words)


def _options(term: Term, schema: AttributeSchema) -> list[Conjunction]:
    """The alternatives of one term. A negated term has one, which forbids all its states at once."""
    if term.negated:
        return [{number: _all_states(number, schema) - states for number, states in term.states}]
    return [{number: states} for number, states in term.states]


def _all_states(group_number: int, schema: AttributeSchema) -> frozenset[int]:
    return frozenset(range(len(schema.groups[group_number].states)))


def _multiply_out(terms: tuple[Term, ...], schema: AttributeSchema) -> tuple[Conjunction, ...]:
    """Disjunctive normal form, without alternatives that contradict themselves or repeat another one."""
    options = [_options(term, schema) for term in terms]
    _check_alternatives(math.prod(map(len, options)))
    conjunctions: list[Conjunction] = []
    for choice in itertools.product(*options):
        merged = _merge(choice)
        if merged is not None and merged not in conjunctions:
            conjunctions.append(merged)
    if not conjunctions:
        raise SchemaError(_contradiction(terms, schema))
    return _disjoint(conjunctions, schema)


def _merge(choice: Iterable[Conjunction]) -> dict[int, frozenset[int]] | None:
    """The conjunction of all conjunctions, or None if it leaves no state for a group."""
    merged: dict[int, frozenset[int]] = {}
    for conjunction in choice:
        for number, states in conjunction.items():
            merged[number] = merged.get(number, states) & states
            if not merged[number]:
                return None
    return merged


def _disjoint(conjunctions: list[Conjunction], schema: AttributeSchema) -> tuple[Conjunction, ...]:
    """The same condition as alternatives that exclude each other, so that their probabilities add up."""
    disjoint: list[Conjunction] = []
    for conjunction in conjunctions:
        remainders = [dict(conjunction)]
        for earlier in disjoint:
            remainders = [rest for piece in remainders for rest in _subtract(piece, earlier, schema)]
        disjoint += remainders
        _check_alternatives(len(disjoint))
    return tuple(disjoint)


def _check_alternatives(count: int) -> None:
    if count > MAX_CONJUNCTIONS:
        raise SchemaError(
            f"the query has more than {MAX_CONJUNCTIONS} alternatives when multiplied out; "
            "use fewer '|' between different attributes"
        )


def _subtract(piece: Conjunction, other: Conjunction, schema: AttributeSchema) -> list[dict[int, frozenset[int]]]:
    """The part of `piece` outside `other`, as one conjunction for each group of `other` that can fail first."""
    parts = []
    kept = dict(piece)
    for number, states in other.items():
        current = kept.get(number, _all_states(number, schema))
        outside = current - states
        if outside:
            parts.append({**kept, number: outside})
        inside = current & states
        if not inside:
            return [dict(piece)]
        kept[number] = inside
    return parts


def _contradiction(terms: tuple[Term, ...], schema: AttributeSchema) -> str:
    for first, second in itertools.combinations(terms, 2):
        pairs = itertools.product(_options(first, schema), _options(second, schema))
        if all(_merge(pair) is None for pair in pairs):
            return f"{shortened(first.text)} and {shortened(second.text)} contradict each other; remove one"
    return f"no person can be all of {shortened(', '.join(term.text for term in terms))}; remove a term"
