"""What may be asked for, how long images are kept, and where alarms may go: one TOML file, written by whoever answers.

[attributes]
sensitive = "with-reason"       # "forbidden", "with-reason" or "allowed"
forbidden = ["age"]             # groups or words that nobody may ask for
[search]
reason = false                  # true: every search needs a reason
[retention]
days = 30                       # left out: images are kept until somebody removes them
[retention.cameras]
door = 7
[watches]
webhooks = ["alerts.example.org", "10.0.0.5:8443"]
mqtt = "localhost:1883"
most_days = 30
[limits]
search = 100                    # searches of one token in a second; other kinds of requests likewise
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from sal_runtime.errors import ConfigError, SalError
from sal_runtime.query.language import Query, Term
from sal_runtime.query.schema import AttributeSchema, Group, normalise_word
from sal_service.toml_file import read_toml, refuse_unknown

Sensitive = Literal["forbidden", "with-reason", "allowed"]
Allowed = Literal["yes", "with reason", "no"]
DAY = 86400.0
LONGEST_DAYS = 36_500
MOST_REQUESTS = 100_000
HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::\d{1,5})?")
KEYS: Mapping[str, tuple[str, ...] | None] = {
    "attributes": ("sensitive", "forbidden"),
    "search": ("reason", "like"),
    "retention": ("days", "cameras"),
    "watches": ("webhooks", "mqtt", "most_days"),
    "limits": None,
}
"""The tables of a policy and their keys; None where the service knows them."""


class PolicyError(SalError):
    """The policy does not allow it; `parameter` is `reason` where a stated reason would."""


@dataclass(frozen=True)
class Policy:
    """What the operator of a service allows. Without a file, sensitive attributes need a reason and nothing expires.

    Attributes:
        sensitive: whether the schema's sensitive attributes may be asked for.
        forbidden: groups and words of a schema, such as `age` or `age=under-15`, that nobody may ask for.
        every_search_needs_reason: also a search for what is not sensitive.
        like: whether people who look like those in given images may be searched.
        days: how long images are kept; None keeps them until they are removed.
        camera_days: the same by camera, in place of `days`.
        webhooks: `host` or `host:port` of each place that alarms may be posted to.
        mqtt: `host:port` of the broker that alarms may be published to; None forbids it.
        most_watch_days: how far away the end of a watch may be.
        limits: by kind of requests, how many whoever asks may send in a second, or a minute, in place of the defaults.
    """

    sensitive: Sensitive = "with-reason"
    forbidden: tuple[str, ...] = ()
    every_search_needs_reason: bool = False
    like: bool = True
    days: float | None = None
    camera_days: Mapping[str, float] = field(default_factory=dict)
    webhooks: tuple[str, ...] = ()
    mqtt: str | None = None
    most_watch_days: float = 30.0
    limits: Mapping[str, int] = field(default_factory=dict)

    @staticmethod
    def read(path: Path) -> Policy:
        """The policy of a TOML file.

        Raises:
            ConfigError: the file cannot be read, a key is unknown, or a value is wrong.
        """
        content = read_toml(path)
        refuse_unknown(content, tuple(KEYS), str(path))
        tables = {name: content.get(name, {}) for name in KEYS}
        for name, table in tables.items():
            if not isinstance(table, dict):
                raise ConfigError(f"{path}: got {name} = {table!r}, expected a table [{name}]")
            if (keys := KEYS[name]) is not None:
                refuse_unknown(table, keys, f"{path}, [{name}]")
        return _policy(path, tables)

    def check_names(self, schemas: Iterable[AttributeSchema]) -> None:
        """Refuse forbidden names that mean nothing: a misspelt one would forbid nothing.

        Args:
            schemas: of all bundles that are served; each name must mean something in one of them.

        Raises:
            ConfigError: a name is unknown.
        """
        groups = [group for schema in schemas for group in schema.groups]
        for name in self.forbidden:
            if not any(_named_states(group, name) for group in groups):
                words = {word for group in groups for state in group.states for word in state.words()}
                near = difflib.get_close_matches(name, sorted(words | {group.name for group in groups}), 1)
                hint = f"did you mean {near[0]}?" if near else "take a group or a word of the bundle"
                raise ConfigError(f"the policy forbids {name!r}, which no bundle knows; {hint}")

    def forbidden_states(self, group: Group) -> frozenset[int]:
        """Numbers of the states of a group that nobody may ask for; of a binary group both or none."""
        found = frozenset(state for name in self.forbidden for state in _named_states(group, name))
        if (group.sensitive and self.sensitive == "forbidden") or (found and group.kind == "binary"):
            return frozenset(range(len(group.states)))
        return found

    def allowed(self, group: Group) -> Allowed:
        """Whether a group may be asked for; of an exclusive group, single words may be forbidden nevertheless."""
        if len(self.forbidden_states(group)) == len(group.states):
            return "no"
        return "with reason" if group.sensitive and self.sensitive == "with-reason" else "yes"

    def check_query(
        self, query: Query | None, schema: AttributeSchema, reason: str | None, *, like: bool = False
    ) -> None:
        """Refuse a search that the policy does not allow.

        A forbidden word may not be named, not even to exclude it, and may not be among what is left when others are
        excluded: "not adult" would look for children where `under-15` is forbidden.

        Args:
            query: what is asked for in words; None for a search by images alone.
            schema: of the query.
            reason: that was stated; blanks are none.
            like: whether the search is also, or only, by images.

        Raises:
            PolicyError: something is forbidden, or a reason is missing.
        """
        has_reason = bool(reason and reason.strip())
        if self.every_search_needs_reason and not has_reason:
            raise PolicyError("the policy asks for a reason with every search; state one", parameter="reason")
        if like and not self.like:
            raise PolicyError("the policy forbids searching by images; describe who is looked for in words")
        for number, states in sorted(_asked(query.terms if query else (), schema).items()):
            group = schema.groups[number]
            if wrong := sorted(states & self.forbidden_states(group)):
                word = schema.qualified(number, group.states[wrong[0]].name)
                raise PolicyError(f"the policy forbids asking for {word}; leave it out, and name what is allowed")
            if self.allowed(group) == "with reason" and not has_reason:
                message = f"{group.name} is a sensitive attribute, and the policy asks for a reason; state one"
                raise PolicyError(message, parameter="reason")

    def retention_seconds(self, camera: str | None) -> float | None:
        """How long the images of a camera are kept; None: until they are removed. A camera None is an unknown one."""
        days = self.days if camera is None else self.camera_days.get(camera, self.days)
        return None if days is None else days * DAY


def _named_states(group: Group, name: str) -> frozenset[int]:
    """Numbers of the states of a group that a name means: all of them if it is a name of the group."""
    names = (group.name, *group.aliases)
    if name in names:
        return frozenset(range(len(group.states)))
    owner, _, word = name.rpartition("=")
    if owner and owner not in names:
        return frozenset()
    return frozenset(number for number, state in enumerate(group.states) if word in state.words())


def _asked(terms: Iterable[Term], schema: AttributeSchema) -> dict[int, set[int]]:
    """By group, the states that terms name, or leave over when they exclude others."""
    asked: dict[int, set[int]] = {}
    left: dict[int, set[int]] = {}
    for term in terms:
        for number, states in term.states:
            asked.setdefault(number, set()).update(states)
            everything = set(range(len(schema.groups[number].states)))
            if term.negated:
                left[number] = left.get(number, everything) - states
            elif len(term.states) == 1:
                left[number] = left.get(number, everything) & states
    return {number: states | left.get(number, set()) for number, states in asked.items()}


def _policy(path: Path, tables: Mapping[str, Mapping[str, Any]]) -> Policy:
    attributes, search, retention, watches, limits = (tables[name] for name in KEYS)
    sensitive = attributes.get("sensitive", "with-reason")
    if sensitive not in get_args(Sensitive):
        raise ConfigError(f"{path}: got sensitive = {sensitive!r}, expected one of {', '.join(get_args(Sensitive))}")
    switches = {"reason": False, "like": True, **search}
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise ConfigError(f"{path}: got {name} = {value!r}, expected true or false")
    cameras = retention.get("cameras", {})
    if not isinstance(cameras, dict):
        raise ConfigError(f"{path}: got cameras = {cameras!r}, expected a table [retention.cameras]")
    mqtt = watches.get("mqtt")
    if mqtt is not None:
        (mqtt,) = _hosts(path, "mqtt", [mqtt])
        if not re.search(r":\d+$", mqtt):
            raise ConfigError(f"{path}: got mqtt = {mqtt!r}, expected host:port, such as localhost:1883")
    return Policy(
        sensitive=sensitive,
        forbidden=tuple(normalise_word(name) for name in _texts(path, "forbidden", attributes.get("forbidden", []))),
        every_search_needs_reason=switches["reason"],
        like=switches["like"],
        days=_days(path, "days", retention["days"]) if "days" in retention else None,
        camera_days={camera: _days(path, f"cameras.{camera}", days) for camera, days in cameras.items()},
        webhooks=_hosts(path, "webhooks", watches.get("webhooks", [])),
        mqtt=mqtt,
        most_watch_days=_days(path, "most_days", watches.get("most_days", 30)),
        limits={kind: _count(path, f"limits.{kind}", count) for kind, count in limits.items()},
    )


def _texts(path: Path, key: str, values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) and value.strip() for value in values):
        raise ConfigError(f"{path}: got {key} = {values!r}, expected a list of texts")
    return values


def _hosts(path: Path, key: str, values: Any) -> tuple[str, ...]:
    hosts = tuple(value.strip().lower() for value in _texts(path, key, values))
    for host in hosts:
        if not HOST.fullmatch(host):
            raise ConfigError(f"{path}: got {host!r} in {key}, expected host or host:port, such as alerts.example.org")
    return hosts


def _days(path: Path, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LONGEST_DAYS:
        raise ConfigError(f"{path}: got {key} = {value!r}, expected days above 0, at most {LONGEST_DAYS:,}")
    return float(value)


def _count(path: Path, key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_REQUESTS:
        raise ConfigError(f"{path}: got {key} = {value!r}, expected a whole number from 1 to {MOST_REQUESTS:,}")
    return value
