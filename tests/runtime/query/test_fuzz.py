"""No query crashes, hangs or blows up: each is understood, or refused in one short line that is safe to print."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.encoding.encoders import AttributeEncoder
from sal_runtime.errors import SchemaError
from sal_runtime.matching.scoring import assess, match_scoring, query_vector
from sal_runtime.query.language import MAX_CONJUNCTIONS, MAX_QUERY_LENGTH, MAX_TERMS, Query, parse_query
from sal_runtime.query.schema import AttributeSchema, binary, exclusive
from sal_runtime.query.statistics import AttributeStatistics
from sal_train.datasets.splits import states_from_vectors
from tests.command_line import check_one_error, run_sal
from tests.runtime.confined import check_confined
from tests.runtime.hostile_queries import Vocabulary, hostile_query, mostly_valid_query
from tests.runtime.tiny_bundle import SCHEMA as SMALL

BUNDLE = Path(__file__).parents[3] / "bundles" / "edge"
NUM_QUERIES = 20_000
NUM_ASKED, NUM_SCORED = 2_000, 800
LONGEST_MESSAGE = 1_000
WIDE = AttributeSchema(
    "wide",
    tuple(
        exclusive(f"group-{number}", {f"word-{state}": 20 * number + state for state in range(20)}, allow_none=True)
        for number in range(60)
    ),
)
"""More groups and words than any data set has."""


@cache
def shipped() -> Bundle:
    return open_bundle(BUNDLE)


@cache
def shipped_encoder() -> AttributeEncoder:
    return AttributeEncoder(shipped())


@cache
def vocabularies() -> tuple[tuple[AttributeSchema, Vocabulary], ...]:
    return tuple((schema, Vocabulary.of(schema)) for schema in (shipped().schema, SMALL))


def understood_or_none(text: str, schema: AttributeSchema) -> Query | None:
    """The query, if it parses and means what it should, or None where it is refused properly."""
    try:
        query = parse_query(text, schema)
    except SchemaError as error:
        check_message(str(error))
        return None
    assert 1 <= len(query.terms) <= MAX_TERMS, len(query.terms)
    assert 1 <= len(query.conjunctions) <= MAX_CONJUNCTIONS, len(query.conjunctions)
    assert len({term.text for term in query.terms}) == len(query.terms), query.terms
    for term in query.terms:
        assert term.text.isprintable(), term
        assert parse_query(term.text, schema).terms == (term,), term
        for group, states in term.states:
            assert states < set(range(len(schema.groups[group].states))), term
            assert states, term
    assert all(states for conjunction in query.conjunctions for states in conjunction.values()), query
    full_words = ",".join(term.text for term in query.terms)
    if len(full_words) <= MAX_QUERY_LENGTH:
        again = parse_query(full_words, schema)
        assert (again.terms, again.conjunctions) == (query.terms, query.conjunctions), full_words
    return query


def check_message(message: str) -> None:
    assert message.isprintable(), message[:LONGEST_MESSAGE]  # no control character, no line break, no half of a pair
    assert 0 < len(message) <= LONGEST_MESSAGE, f"{len(message)} characters: {message[:LONGEST_MESSAGE]}"


def check_query(number: int) -> str:
    understood = False
    for schema, vocabulary in vocabularies():
        text = hostile_query(number, vocabulary)
        try:
            understood = understood_or_none(text, schema) is not None or understood
        except Exception as error:
            raise AssertionError(f"query {number} for the schema {schema.name}: {text[:300]!r}") from error
    return "understood" if understood else "refused"


def check_scores(number: int) -> str:
    schema, vocabulary = vocabularies()[0]
    text = mostly_valid_query(number, vocabulary)
    query = understood_or_none(text, schema)
    if query is None:
        return "refused"
    embeddings = np.random.default_rng(number).standard_normal((3, shipped().embedding_dim)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    vector = query_vector(query, shipped().statistics, shipped_encoder().encode)
    rule = match_scoring(shipped(), query, vector)
    found = rule.score(embeddings @ rule.directions.T)
    assert np.isfinite(found).all(), text
    assert (found <= (embeddings @ rule.bounds.T + rule.offsets).max(axis=1)).all(), text
    scores = assess(shipped(), query, vector, found, embeddings)
    assert scores.evidence.shape == (3, len(query.terms)), text
    assert scores.likelihood is not None
    for fractions in (scores.evidence, scores.likelihood):
        assert ((fractions >= 0) & (fractions <= 1)).all(), text
    assert np.abs(scores.cosines).max() <= 1.0001, text
    return "scored"


def test_every_query_is_understood_or_refused() -> None:
    counts = check_confined(check_query, range(NUM_QUERIES), megabytes=256)
    assert sum(counts.values()) == NUM_QUERIES
    assert min(counts["understood"], counts["refused"]) > NUM_QUERIES // 6, counts


def test_whatever_is_understood_can_be_scored() -> None:
    counts = check_confined(check_scores, range(NUM_ASKED), megabytes=512)
    assert counts["scored"] >= NUM_SCORED, counts


@pytest.mark.parametrize(
    "text",
    [
        "x" * MAX_QUERY_LENGTH,
        "\U0010ffff" * MAX_QUERY_LENGTH,
        "hat=" + "\x1b" * 4000,
        "\x00" * 4000 + "=hat",
        "|" * MAX_QUERY_LENGTH,
        "=" * MAX_QUERY_LENGTH,
        "!" * MAX_QUERY_LENGTH,
        "a" * 5_000_000,
        ",".join(f"group-{number}=word-0|group-{number + 1}=word-0" for number in range(0, 40, 2)),
        ",".join(f"group-{number}=word-0" for number in range(59)) + ",group-0=word-1",
        "|".join(f"group-0=word-{number}" for number in range(1, 20)) + ",group-0=word-0",
        "word-3",
        "group=word-3",
        "group-3=other",
    ],
)
@pytest.mark.parametrize("schema", [WIDE, SMALL])
def test_messages_are_short_and_safe_to_print(text: str, schema: AttributeSchema) -> None:
    with pytest.raises(SchemaError) as error:
        parse_query(text, schema)
    check_message(str(error.value))


def test_a_word_of_another_group_keeps_its_group_in_full_words() -> None:
    """`colour=red|hat` would ask for a colour called hat, since the group carries over."""
    schema = AttributeSchema("s", (exclusive("a", {"x": 0, "y": 1}, allow_none=True), binary("b", 2), binary("x", 3)))
    query = parse_query("b|a=x", schema)
    assert [term.text for term in query.terms] == ["a=x|b=b"]
    assert parse_query("a=x|b=b", schema).terms == query.terms


@pytest.mark.parametrize("word", ["\x1b[2j", "\ud800", "\u202ehat", "\x00"])
def test_a_schema_has_no_words_that_steer_a_terminal(word: str) -> None:
    with pytest.raises(SchemaError, match="cannot name a state"):
        AttributeSchema("s", (binary("hat", 0, present=word),))
    with pytest.raises(SchemaError, match="cannot name a group"):
        AttributeSchema("s", (binary("hat", 0, aliases=(word,)),))


def test_a_term_that_is_repeated_counts_once() -> None:
    once, again = parse_query("hat,!backpack|male", SMALL), parse_query("hat,!backpack|male,HAT,!male|rucksack", SMALL)
    assert once.terms == again.terms
    assert len(parse_query("hat|male," * 400, SMALL).terms) == 1


def test_the_number_of_terms_has_a_limit() -> None:
    """Scores take memory for each term and image."""
    words = [f"group-{number}=word-{state}" for number in range(60) for state in range(3)]
    assert len(parse_query(",".join("!" + word for word in words[:MAX_TERMS]), WIDE).terms) == MAX_TERMS
    with pytest.raises(SchemaError, match=f"more than {MAX_TERMS} terms"):
        parse_query(",".join("!" + word for word in words[: MAX_TERMS + 1]), WIDE)


def test_the_number_of_alternatives_has_a_limit_with_a_message() -> None:
    halves = [f"group-{number}=word-0|group-{number + 1}=word-0" for number in range(0, 20, 2)]
    assert len(parse_query(",".join(halves[:6]), WIDE).conjunctions) == MAX_CONJUNCTIONS
    for count in (7, 10):
        with pytest.raises(SchemaError, match=f"more than {MAX_CONJUNCTIONS} alternatives"):
            parse_query(",".join(halves[:count]), WIDE)


def test_what_the_statistics_hold_impossible_can_be_asked_for() -> None:
    """Exported probabilities are rounded: in a large data set what was never seen is 0 there."""
    schema = AttributeSchema("pair", (binary("hat", 0), binary("bag", 1)))
    data = {"count": 10**7, "parents": [-1, 0], "tables": [[1.0, 0.0], [[1.0, 0.0], [0.5, 0.5]]]}
    check_drawn(schema, AttributeStatistics.from_json(data, schema), "hat,bag")


def test_what_is_too_improbable_for_a_float_can_be_asked_for() -> None:
    rare = [1e-6, *[(1 - 1e-6) / 20] * 20]
    tables = [rare, *([[rare] * 21] * 59)]
    data = {"count": 10**6, "parents": [-1, *range(59)], "tables": tables}
    everything = ",".join(f"group-{number}=word-0" for number in range(60))
    check_drawn(WIDE, AttributeStatistics.from_json(data, WIDE), everything)


def check_drawn(schema: AttributeSchema, statistics: AttributeStatistics, text: str) -> None:
    """Every completion satisfies the query, and its vector is finite."""
    query = parse_query(text, schema)
    vectors, drawn = statistics.sample_completions(query.conjunctions, 50, seed=1)
    assert drawn.sum() == 50
    states = states_from_vectors(schema, vectors)
    for group, allowed in query.conjunctions[0].items():
        assert set(states[:, group].tolist()) <= allowed
    weight = np.random.default_rng(0).standard_normal((schema.num_bits, 4)).astype(np.float32)
    vector = query_vector(query, statistics, lambda drawn: (drawn @ weight + 1).astype(np.float32))
    assert np.isfinite(vector).all()


@pytest.mark.parametrize(
    "text", ["\x1b[2J", "\x1b]0;title\x07", "male\nfemale", "\udcff", "\u202ehat", "[red]", "%s{0}", "x" * 10**6]
)
def test_the_command_refuses_in_one_line(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_sal(capsys, "search", "--attrs", text, "--gallery", tmp_path, "--bundle", BUNDLE)
    check_one_error(outcome, 2)
    check_message(outcome[2].rstrip("\n"))
