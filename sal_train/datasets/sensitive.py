"""Which columns of a table tell something sensitive about a person, by the meaning of their words."""

from __future__ import annotations

import re
from collections.abc import Iterable

AGE = """age aged ages old older young younger youth baby toddler infant child children kid kids teen teens teenager
    teenagers adolescent adult adults senior seniors elderly minor alter
    jung kinder âge enfant edad niño niña 年龄 老人 老年 儿童 小孩"""
SEX = """sex gender male males female females man men woman women boy boys girl girls lady ladies gentleman masculine
    feminine nonbinary transgender trans intersex pregnant orientation gay lesbian bisexual
    geschlecht männlich weiblich mann frau frauen männer mädchen sexe homme femme
    fille garçon sexo hombre mujer género genero 性别 男 女 男性 女性"""
ORIGIN = """skin skintone skincolor skincolour complexion fitzpatrick race racial ethnic ethnicity nationality origin
    caucasian asian african european hispanic latino latina arab indian
    haut hautfarbe herkunft ethnie peau piel pele raza etnia 肤色 民族 种族"""
RELIGION = """religion religious faith hijab niqab burka burqa chador headscarf turban kippa kippah yarmulke
    muslim christian jewish hindu sikh buddhist kopftuch 宗教 头巾"""
HEALTH = (
    "disability disabled handicap handicapped wheelchair crutches blind behinderung rollstuhl discapacidad 残疾 轮椅"
)
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
