"""The query language: `male,backpack,!hat,upper=red|pink`.

    query       = term ("," term)*                       all terms must hold
    term        = ["!"] alternative ("|" alternative)*   one alternative must hold; with "!" none may hold
    alternative = [group "="] word                       a word that is unique needs no group

Inside a term the group carries over: `upper=red|pink`. Blanks, case and underscores do not matter. Attributes that a
query leaves out are unconstrained.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

from sal_runtime.errors import SchemaError
from sal_runtime.query.schema import AttributeSchema, Conjunction, normalise_word

MAX_CONJUNCTIONS = 64
MAX_QUERY_LENGTH = 4096
MAX_TERMS = 128
"""Scores take memory for each term and image, and no data set has so many groups."""
NUM_SUGGESTIONS = 3
LONGEST_QUOTE = 40
"""Characters of the query that a message repeats; an escaped character takes up to ten."""
LONGEST_LIST = 300
"""Characters of a list of words in a message."""


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
    """

    text: str
    terms: tuple[Term, ...]
    conjunctions: tuple[Conjunction, ...]


def parse_query(text: str, schema: AttributeSchema) -> Query:
    """Parse a query.

    Raises:
        SchemaError: it is empty or too long, a word is unknown (the message suggests similar words) or stands for
            several attributes, two terms contradict each other, or it has more than 128 terms, or 64 alternatives when
            multiplied out. The message is one line of at most 1,000 printable characters.
    """
    if len(text) > MAX_QUERY_LENGTH:
        raise SchemaError(f"the query is {len(text)} characters long, at most {MAX_QUERY_LENGTH} are read; shorten it")
    parts = [part.strip() for part in text.split(",")]
    if not any(parts):
        raise SchemaError("the query is empty; name at least one attribute, as in male,backpack,!hat")
    terms = tuple(dict.fromkeys(_parse_term(part, schema) for part in parts if part))
    if len(terms) > MAX_TERMS:
        raise SchemaError(f"the query has more than {MAX_TERMS} terms; leave some out")
    return Query(text, terms, _multiply_out(terms, schema))


def _parse_term(part: str, schema: AttributeSchema) -> Term:
    negated = part.startswith("!")
    body = part[1:] if negated else part
    named: dict[int, set[int]] = {}
    group: int | None = None
    for alternative in body.split("|"):
        name, separator, word = alternative.rpartition("=")
        if "!" in alternative or "=" in name:
            raise SchemaError(
                f"cannot read {_quoted(part)}; write it like !hat or upper=red|pink, with '!' in front of the term"
            )
        if separator:
            group = _resolve_group(name, schema)
        found_group, state = _resolve_word(word, group, schema, part)
        named.setdefault(found_group, set()).add(state)
    pairs = tuple((number, frozenset(states)) for number, states in sorted(named.items()))
    for number, states in pairs:
        if len(states) == len(schema.groups[number].states):
            what = "nothing" if negated else "everything"
            name = schema.groups[number].name
            raise SchemaError(f"{_quoted(part)} names every value of {name}, so it allows {what}; leave it out")
    return Term(_term_text(negated, pairs, schema), negated, pairs)


def _resolve_group(name: str, schema: AttributeSchema) -> int:
    word = normalise_word(name)
    if word not in schema.group_index:
        raise SchemaError(f"unknown attribute {_quoted(name)}; {_nearest(word, schema.group_index)}")
    return schema.group_index[word]


def _resolve_word(word: str, group: int | None, schema: AttributeSchema, part: str) -> tuple[int, int]:
    wanted = normalise_word(word)
    if not wanted:
        raise SchemaError(f"a word is missing in {_quoted(part)}; write it like hat or upper=red|pink")
    if group is not None:
        state = schema.groups[group].state_index(wanted)
        if state is None:
            words = [value for known in schema.groups[group].states for value in known.words()]
            raise SchemaError(f"{schema.groups[group].name} cannot be {_quoted(word)}; {_nearest(wanted, words)}")
        return group, state
    meanings = schema.words.get(wanted, ())
    if not meanings:
        raise SchemaError(f"unknown word {_quoted(word)}; {_nearest(wanted, schema.words)}")
    if len(meanings) > 1:
        forms = _shortened(" or ".join(f"{schema.groups[number].name}={wanted}" for number, _ in meanings))
        raise SchemaError(f"{_quoted(word)} could be {forms}; write one of these")
    return meanings[0]


def _nearest(word: str, known: Iterable[str]) -> str:
    """The most similar known words as a suggestion; if no word is similar, as many known words as fit into a line."""
    known = sorted(set(known))
    near = difflib.get_close_matches(word, known, NUM_SUGGESTIONS, cutoff=0.5)
    near += [other for other in known if word and (word in other.split("-")) and other not in near][:NUM_SUGGESTIONS]
    if near:
        return f"did you mean {_shortened(' or '.join(near))}?"
    return f"known: {_shortened(', '.join(known))}"


def _quoted(text: str) -> str:
    """The beginning of a text, with escapes for characters that should not reach a terminal."""
    text = text.strip()
    return repr(text[:LONGEST_QUOTE]) + ("..." if len(text) > LONGEST_QUOTE else "")


def _shortened(words: str) -> str:
    return words if len(words) <= LONGEST_LIST else f"{words[:LONGEST_LIST]}..."


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
            return f"{_shortened(first.text)} and {_shortened(second.text)} contradict each other; remove one"
    return f"no person can be all of {_shortened(', '.join(term.text for term in terms))}; remove a term"
