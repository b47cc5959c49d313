"""Columns of a table as attributes: the schema that follows from their values, and the state that a cell names.

Columns about age, sex, ethnicity, religion or health are marked as sensitive, by the meaning of their words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import numpy as np

from sal_runtime.arrays import UInt8Array
from sal_runtime.errors import InputError
from sal_runtime.query.schema import NONE_STATE, AttributeSchema, Group, binary, exclusive, normalise_word
from sal_train.datasets.table_file import LEFT_OUT, Table, is_blank
from sal_train.datasets.text_files import read_text

NUMBERS_YES_NO = {"1": 1, "0": 0, "-1": 0}
YES_WORDS = (
    "true yes y t on ja j wahr oui vrai si sí sì verdadero verdadeiro sim vero да 是 present with positive x + ✓ ✔ ☑"
)
NO_WORDS = "false no n f off absent without negative ✗ ✘ ☐ nein falsch non faux falso não nao нет 否"
YES_NO = NUMBERS_YES_NO | dict.fromkeys(YES_WORDS.split(), 1) | dict.fromkeys(NO_WORDS.split(), 0)
"""Ways to write whether a person has an attribute, as `cell_word` gives them: 1 yes, 0 no."""
UNDERSTOOD = "1/0, 1/-1, true/false, yes/no or y/n"
NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d*)?(?:e[+-]?\d+)?")
MAX_STATES = 32
MAX_NAMED = 5
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


def cell_word(cell: str) -> str:
    """The word that a cell stands for: `none` where it is blank, `1` for `1.0`, else its normalised text."""
    word = normalise_word(cell)
    if is_blank(word):
        return NONE_STATE
    if not is_number(word):
        return word
    value = float(word.replace(",", "."))
    return str(int(value)) if value.is_integer() else f"{value:g}"


def is_number(word: str) -> bool:
    """Whether a normalised word is a decimal number."""
    return len(word) < 20 and NUMBER.fullmatch(word) is not None


def schema_of(table: Table) -> AttributeSchema:
    """The schema in `schema.json` beside the table, or the one that follows from its columns.

    A column of yes and no (`YES_NO`) becomes a binary group, a column of two words a binary group with these words as
    poles, a column of one word and blank cells a binary group of this word, a column of more words an exclusive group,
    in which a blank cell is the state `none`.

    Raises:
        InputError: a column cannot be an attribute, or the schema and the columns do not match.
        SchemaError: `schema.json` is not a schema.
    """
    path = table.path.with_name("schema.json")
    if not path.is_file():
        return _schema_of_columns(table)
    try:
        schema = AttributeSchema.from_json(json.loads(read_text(path)))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from error
    missing = sorted({group.name for group in schema.groups} - set(table.columns))
    if missing:
        raise InputError(
            f"{table.path}: no column for {', '.join(missing)} of {path.name}; the columns are "
            f"{', '.join(table.columns.values())}"
        )
    return schema


def columns_left_out(table: Table, schema: AttributeSchema) -> list[str]:
    """Names, as in the file, of columns that `schema.json` does not know; they are no attributes."""
    known = {group.name for group in schema.groups}
    return [column for name, column in table.columns.items() if name not in known]


def _schema_of_columns(table: Table) -> AttributeSchema:
    groups: list[Group] = []
    next_bit = 0
    for name, column in table.columns.items():
        words = {cell_word(row.get(column, "")) for _, row in table.rows}
        sensitive = is_sensitive((column, *words))
        group = _group_of_words(f"{table.path}: column `{name}`", name, words, next_bit, sensitive)
        groups.append(group)
        next_bit += len(group.bits)
    return AttributeSchema(normalise_word(table.path.parent.resolve().name or table.path.stem), tuple(groups))


def _group_of_words(where: str, name: str, words: set[str], bit: int, sensitive: bool) -> Group:
    named = sorted(words - {NONE_STATE})
    if not named:
        raise InputError(f"{where} is empty or none in every row; label it, {_leave_out(name)}")
    if {YES_NO.get(word) for word in named} in ({0, 1}, {1}, {0}) and set(named) != {"-1", "0"}:
        return binary(name, bit, sensitive=sensitive)
    is_letters = all(len(word) == 1 and word.isalpha() for word in named)  # f is short for female beside m
    is_half_yes_no = bool(set(named) & set(YES_NO)) and not is_letters
    if len(named) <= 2 and (is_half_yes_no or all(is_number(word) for word in named)):
        raise InputError(f"{where} holds {' and '.join(named)}; expected {UNDERSTOOD}, or words for both")
    if len(named) == 1 and NONE_STATE not in words:
        raise InputError(f"{where} always says {named[0]!r}; use 0 and 1, {_leave_out(name)}")
    if len(named) == 1:
        return binary(
            name, bit, absent=f"no-{named[0]}", present=named[0], absent_aliases=[NONE_STATE], sensitive=sensitive
        )
    if len(named) == 2 and NONE_STATE not in words:
        return binary(name, bit, absent=named[0], present=named[1], sensitive=sensitive)
    if len(named) > MAX_STATES:
        raise InputError(
            f"{where} has {len(named)} different values; an attribute may have {MAX_STATES}: divide numbers into "
            f"classes, {_leave_out(name)}"
        )
    bits = {word: bit + index for index, word in enumerate(named)}
    return exclusive(name, bits, allow_none=NONE_STATE in words, sensitive=sensitive)


def _leave_out(name: str) -> str:
    return f"or call the column `{LEFT_OUT}{name}` to leave it out"


def label_vectors(table: Table, schema: AttributeSchema) -> UInt8Array:
    """Attribute vectors uint8 [N, A] of the rows.

    Raises:
        InputError: cells name no state of their group; the message names the first lines.
    """
    states = np.zeros((len(table.rows), len(schema.groups)), dtype=np.int64)
    problems, columns = [], []
    for number, group in enumerate(schema.groups):
        column = table.columns[group.name]
        for index, (line, row) in enumerate(table.rows):
            cell = row.get(column, "")
            state = _state_of_cell(group, cell)
            if state is None:
                expected = "1 or 0" if group.states[0].name == f"no-{group.name}" else _state_names(group)
                problems.append(f"line {line}, `{column}`: {cell!r}, expected {expected}")
                columns.append(column)
            else:
                states[index, number] = state
    if problems:
        named = "; ".join(problems[:MAX_NAMED])
        raise InputError(
            f"{table.path}: {len(problems)} cells are not understood: {named}; label them, leave these rows out, "
            f"{_leave_out(columns[0])}"
        )
    return schema.vectors_from_states(states)


def _state_names(group: Group) -> str:
    return "|".join(state.name for state in group.states)


def _state_of_cell(group: Group, cell: str) -> int | None:
    """Number of the state: by its own words first, so that a schema may call a state `1.0` or `na`."""
    word = cell_word(cell)
    for name in (cell, word):
        for number, state in enumerate(group.states):
            if normalise_word(name) in state.words():
                return number
    if group.kind == "binary":
        has_poles = group.states[0].name != f"no-{group.name}"
        # `f` may be short for a pole (female) where there are poles
        return None if has_poles and len(word) == 1 and not word.isdigit() else YES_NO.get(word)
    return None


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
