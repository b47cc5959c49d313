"""The policy: what it forbids cannot be asked for in any other words, and a misspelt key or name is refused."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.errors import ConfigError, SchemaError
from sal_runtime.query.language import parse_query
from sal_runtime.query.schema import AttributeSchema, binary, exclusive
from sal_service.governance.policy import Policy, PolicyError

AGES = ("child", "young", "adult", "old")
SCHEMA = AttributeSchema(
    "people",
    (
        binary(
            "gender", 0, absent="male", present="female", sensitive=True, aliases=("sex",), present_aliases=("woman",)
        ),
        exclusive("age", {name: bit for bit, name in enumerate(AGES, 1)}, allow_none=False, sensitive=True),
        binary("hat", 5),
        exclusive("upper", {"red": 6, "blue": 7}, allow_none=True, aliases=("top",)),
        exclusive("lower", {"red": 8, "blue": 9}, allow_none=True),
    ),
)
GENDER, AGE, HAT, UPPER, _ = SCHEMA.groups


def check(policy: Policy, text: str, reason: str | None = None) -> None:
    policy.check_query(parse_query(text, SCHEMA), SCHEMA, reason)


def is_refused(policy: Policy, text: str, reason: str | None = None) -> str | None:
    """The parameter that the error names, `forbidden` where it names none; None if the query is allowed."""
    try:
        check(policy, text, reason)
    except PolicyError as error:
        return error.parameter or "forbidden"
    return None


def test_without_a_policy_sensitive_words_need_a_reason() -> None:
    policy = Policy()
    assert is_refused(policy, "hat,upper=red") is None
    for text in ("female", "!female", "male|hat", "hat,old", "woman in a red top"):
        assert is_refused(policy, text) == "reason"
        assert is_refused(policy, text, "  ") == "reason"
        assert is_refused(policy, text, "lost child") is None
    assert [policy.allowed(group) for group in (GENDER, AGE, HAT)] == ["with reason", "with reason", "yes"]
    assert (policy.days, policy.webhooks, policy.mqtt) == (None, (), None)


def test_sensitive_words_may_be_forbidden_or_allowed() -> None:
    for text in ("female", "!female", "male|hat", "hat,old"):
        assert is_refused(Policy(sensitive="forbidden"), text, "lost child") == "forbidden"
        assert is_refused(Policy(sensitive="allowed"), text) is None
    assert is_refused(Policy(sensitive="forbidden"), "hat") is None
    assert Policy(sensitive="forbidden").allowed(GENDER) == "no"
    assert Policy(sensitive="allowed").allowed(GENDER) == "yes"


@pytest.mark.parametrize(
    ("name", "refused", "taken"),
    [
        ("age", ["old", "!old", "hat|old"], ["female", "hat"]),
        ("sex", ["woman", "!male", "male"], ["old"]),
        ("female", ["male", "!female"], ["old"]),
        ("age=old", ["old", "!old", "!adult", "!child,!young", "hat|old"], ["adult", "child|young", "hat|young"]),
        ("top=red", ["upper=red", "upper=red|blue", "!upper=blue", "!upper=red"], ["upper=blue", "lower=red"]),
        ("red", ["upper=red", "lower=red"], ["upper=blue", "lower=blue"]),
        ("hat", ["hat", "no-hat", "!hat", "hat|upper=blue"], ["upper=red"]),
    ],
)
def test_what_is_forbidden_in_any_words(name: str, refused: list[str], taken: list[str]) -> None:
    policy = Policy("allowed", (name,))
    assert [text for text in refused if is_refused(policy, text) != "forbidden"] == []
    assert [text for text in taken if is_refused(policy, text) is not None] == []


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_query_singles_out_who_is_forbidden(data: st.DataObject) -> None:
    """Whatever is allowed finds no age at all, or leaves the forbidden one out, or treats all ages alike."""
    policy = Policy("allowed", ("child",))
    words = [*AGES, "hat", "female", *("|".join(pair) for pair in combinations((*AGES, "hat"), 2))]
    terms = data.draw(st.lists(st.tuples(st.booleans(), st.sampled_from(words)), min_size=1, max_size=4))
    text = ",".join("!" * negated + word for negated, word in terms)
    try:
        query = parse_query(text, SCHEMA)
    except SchemaError:
        return
    if is_refused(policy, text) is not None:
        return

    def fits(age: int, hat: int, female: int) -> bool:
        person = {0: female, 1: age, 2: hat}
        return any(all(person.get(group, 0) in states for group, states in one.items()) for one in query.conjunctions)

    for hat in (0, 1):
        for female in (0, 1):
            child, *others = (fits(age, hat, female) for age in range(4))
            assert not child or all(others), text


def test_every_search_may_need_a_reason() -> None:
    policy = Policy(every_search_needs_reason=True)
    assert is_refused(policy, "hat") == "reason"
    assert is_refused(policy, "hat", "lost child") is None
    with pytest.raises(PolicyError, match="with every search"):
        policy.check_query(None, SCHEMA, None)
    Policy("forbidden").check_query(None, SCHEMA, None, like=True)
    for query in (None, parse_query("hat", SCHEMA)):
        with pytest.raises(PolicyError, match="forbids searching by images"):
            Policy(like=False).check_query(query, SCHEMA, "lost child", like=True)
    Policy(like=False).check_query(parse_query("hat", SCHEMA), SCHEMA, None)


def test_a_message_says_what_to_do() -> None:
    with pytest.raises(PolicyError, match="the policy forbids asking for upper=red; leave it out"):
        check(Policy(forbidden=("red",)), "hat,upper=red", "x")
    with pytest.raises(PolicyError, match="gender is a sensitive attribute, and the policy asks for a reason"):
        check(Policy(), "hat,female")


def test_a_forbidden_name_that_no_bundle_knows_is_refused() -> None:
    Policy(forbidden=("age", "top=red", "hat", "sex")).check_names([SCHEMA])
    other = AttributeSchema("other", (binary("bag", 0),))
    Policy(forbidden=("age", "bag")).check_names([SCHEMA, other])
    for name, words in (("agge", "did you mean age"), ("uper=red", "which no bundle knows"), ("zzz", "take a group")):
        with pytest.raises(ConfigError, match=words):
            Policy(forbidden=(name,)).check_names([SCHEMA])


FILE = """
[attributes]
sensitive = "allowed"
forbidden = ["Age", "upper=red"]
[search]
reason = true
like = false
[retention]
days = 30
[retention.cameras]
door = 0.5
[watches]
webhooks = ["Alerts.example.org", "10.0.0.5:8443", "[::1]:80"]
mqtt = "localhost:1883"
most_days = 7
[limits]
search = 100
"""


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(FILE)
    policy = Policy.read(path)
    hosts = ("alerts.example.org", "10.0.0.5:8443", "[::1]:80")
    expected = ("allowed", ("age", "upper=red"), True, False, 30, {"door": 0.5}, hosts, "localhost:1883", 7)
    assert policy == Policy(*expected, limits={"search": 100})
    assert [policy.retention_seconds(camera) for camera in ("door", "yard", None)] == [43_200, 2_592_000, 2_592_000]
    path.write_text("")
    assert Policy.read(path) == Policy()
    assert Policy().retention_seconds("door") is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("[attributes]", "[atributes]"), "unknown key 'atributes'; did you mean attributes?"),
        (("sensitive =", "sensitve ="), "did you mean sensitive?"),
        (('"allowed"', '"maybe"'), "expected one of forbidden, with-reason, allowed"),
        (('["Age", "upper=red"]', '"age"'), "expected a list of texts"),
        (("reason = true", 'reason = "yes"'), "expected true or false"),
        (("like = false", "like = 0"), "got like = 0, expected true or false"),
        (("days = 30", "days = 0"), "expected days above 0"),
        (("days = 30", "days = true"), "expected days above 0"),
        (("door = 0.5", 'door = "7"'), "cameras.door"),
        (("10.0.0.5:8443", "http://10.0.0.5/"), "expected host or host:port"),
        (("10.0.0.5:8443", "a b"), "expected host or host:port"),
        (("10.0.0.5:8443", "a\\nb"), "expected host or host:port"),
        (("localhost:1883", "localhost"), "expected host:port"),
        (("search = 100", "search = 0"), "limits.search"),
        (("search = 100", "search = 0.5"), "expected a whole number from 1 to 100,000"),
        (("[search]\nreason = true\nlike = false", ""), ""),
        (("[search]", "[[search]]"), "expected a table [search]"),
    ],
)
def test_what_is_wrong_in_a_file(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(FILE.replace(*change))
    if not words:
        Policy.read(path)
        return
    with pytest.raises(ConfigError) as error:
        Policy.read(path)
    assert words in str(error.value)
    assert str(path) in str(error.value)


def test_the_policy_that_the_page_prints(tmp_path: Path) -> None:
    """It is a policy of the shipped bundle, and its comments are about keys that there are."""
    repository = Path(__file__).parents[3]
    page = (repository / "docs" / "governance.md").read_text(encoding="utf-8")
    path = tmp_path / "policy.toml"
    path.write_text(page.partition("```toml\n")[2].partition("```")[0])
    policy = Policy.read(path)
    policy.check_names([open_bundle(repository / "bundles" / "edge").schema])
    assert (policy.forbidden, policy.days, dict(policy.camera_days)) == (("age",), 30, {"door": 7})
