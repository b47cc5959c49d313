"""What a schema's words are, how well each is recognised, and what to say of an answer that asked for a weak one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sal_runtime.query.language import Query, Term
from sal_runtime.query.schema import AttributeSchema
from sal_runtime.query.vocabulary import english, vocabulary_of

WEAK = 0.1
"""A word is weak if the attribute head recognises it in a smaller share of the test images that show it."""

RATES = (
    {"recognised": "true_negative_rate", "precision": "negative_precision", "people": "people_without"},
    {"recognised": "true_positive_rate", "precision": "precision", "people": "people"},
)
"""What the list tells of a word, by its name in the metrics: of absence, and of presence."""


def list_words(schema: AttributeSchema, metrics: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The words that a query may use, as a JSON-serialisable list with an entry for each group.

    Args:
        schema: of a bundle.
        metrics: `manifest["metrics"]` of the bundle; None leaves out how well words are recognised.

    Returns:
        For each group `group`, `kind`, `sensitive`, `synonyms` (for the group or for what it describes) and `values`;
        for each value `word`, `synonyms` (without those that mean something else where the group is not named) and what
        was measured: `recognised`, the share 0..1 of the test images that show it in which it is recognised;
        `precision`, the share of the images in which it is recognised that show it; `people`, the number of test people
        who show it; `precision_at_forty`, the precision where 40 % of the images that show it are found. None where
        nothing was measured.
    """
    vocabulary, rates = vocabulary_of(schema), _rates(metrics or {})
    listed = []
    for number, group in enumerate(schema.groups):
        known = vocabulary.in_group[number]
        values = []
        for index, state in enumerate(group.states):
            bit = group.bits[0] if group.kind == "binary" else state.bit
            measured = {} if bit is None else rates.get(schema.bit_names[bit], {})
            synonyms = [
                word
                for word, named in known.items()
                if index in named and word != state.name and (number, index) in vocabulary.words[word]
            ]
            rates_of = {name: measured.get(key) for name, key in RATES[state.bit is not None].items()}
            rates_of["precision_at_forty"] = None if state.bit is None else measured.get("precision_at_forty")
            values.append({"word": state.name, "synonyms": synonyms, **rates_of})
        places = [word for word, groups in vocabulary.places.items() if number in groups and word != group.name]
        head = {"group": group.name, "kind": group.kind, "sensitive": group.sensitive, "synonyms": places}
        listed.append({**head, "values": values})
    return listed


def weak_words(query: Query, schema: AttributeSchema, metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """A note for each asked attribute that the attribute head hardly recognises, by `manifest["metrics"]`.

    "Not hat" is as weak as "hat": what is never recognised is never missed.
    """
    notes = []
    for term in query.terms:
        for name, (share, images) in recognition(term, schema, metrics).items():
            if share < WEAK:
                seen = f"{round(share * images):,} of {images:,}"
                notes.append(f"{name} is recognised in {seen} test images that show it; do not rely on it")
    return tuple(dict.fromkeys(notes))


def asks_for_colour(query: Query, schema: AttributeSchema) -> bool:
    """Whether a term names a colour.

    A group gives a colour if sentences bind its values to garments (`upper`), or if a part of its names or of those of
    its values says so: `hat-colour`, `red` of `jacket`, `black-shoes`.
    """
    tints = {word for kind, words, _ in english() if kind == "tint" for word in words}
    for number in {number for term in query.terms for number, _ in term.states}:
        group = schema.groups[number]
        names = [group.name, *group.aliases, *(word for state in group.states for word in state.words())]
        if number in vocabulary_of(schema).colours or any(tints & set(name.split("-")) for name in names):
            return True
    return False


def recognition(term: Term, schema: AttributeSchema, metrics: Mapping[str, Any]) -> dict[str, tuple[float, int]]:
    """How well the attribute head recognises each attribute that a term names, as far as it was measured.

    Returns:
        By the name of the attribute: in which share 0..1 of the test images that show it, and the number of these.
    """
    measured, rates = {}, _rates(metrics)
    for number, states in term.states:
        group = schema.groups[number]
        bits = group.bits if group.kind == "binary" else [group.states[state].bit for state in sorted(states)]
        for name in (schema.bit_names[bit] for bit in bits if bit is not None):
            share, images = (rates.get(name, {}).get(key) for key in ("true_positive_rate", "positives"))
            if share is not None and images:
                measured[name] = (float(share), int(images))
    return measured


def _rates(metrics: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Recognition rates by the name of the bit; empty where nothing was measured."""
    return dict((metrics.get("recognition") or {}).get("by_attribute") or {})
