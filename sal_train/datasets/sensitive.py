"""Which columns of a table tell something sensitive about a person, by the meaning of their words."""

from __future__ import annotations

import re
from collections.abc import Iterable

AGE = """age aged ages old older young younger youth baby toddler infant child children kid kids teen teens teenager
    teenagers adolescent adult adults senior seniors elderly minor alter jung edad"""
SEX = """sex gender male males female females man men woman women boy boys girl girls lady ladies gentleman masculine
    feminine nonbinary transgender trans intersex pregnant orientation gay lesbian bisexual
    geschlecht männlich weiblich mann frau sexe sexo genre género genero"""
ORIGIN = """skin skintone skincolor skincolour complexion fitzpatrick race racial ethnic ethnicity nationality origin
    caucasian asian african european hispanic latino latina arab indian"""
RELIGION = """religion religious faith hijab niqab burka burqa chador headscarf turban kippa kippah yarmulke
    muslim christian jewish hindu sikh buddhist"""
HEALTH = "disability disabled handicap handicapped wheelchair crutches blind"
SENSITIVE_WORDS = frozenset(" ".join((AGE, SEX, ORIGIN, RELIGION, HEALTH)).split())
SENSITIVE_BEGINNINGS = re.compile(
    r"age(\d|over|under|less|above|below|group|range|class)|(less|over|under|above)\d|ethnic|religio|disab|pregnan"
)
CAMEL_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def is_sensitive(words: Iterable[str]) -> bool:
    """Whether the name of a column or one of its values is about age, sex, ethnicity, religion or health.

    >>> is_sensitive(["Skin Tone", "light", "dark"]), is_sensitive(["person", "woman", "man"]), is_sensitive(["hat"])
    (True, True, False)
    """
    return any(_means_something_sensitive(word) for word in words)


def _means_something_sensitive(text: str) -> bool:
    parts = re.split(r"[\W_]+", CAMEL_CASE.sub("-", text).lower())
    return any(
        part in SENSITIVE_WORDS or part.rstrip("0123456789") in SENSITIVE_WORDS or SENSITIVE_BEGINNINGS.match(part)
        for part in parts
    )
