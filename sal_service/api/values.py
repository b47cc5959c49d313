"""The values that requests and answers are made of (`models.py`)."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, Strict, StringConstraints

Text = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
"""Names of galleries, cameras and watches."""
Uri = Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\x00]*$")]
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


def _as_written(value: object) -> object:
    """Refuse what pydantic would take for a moment besides: numbers, dates, times without seconds."""
    if isinstance(value, str) and not RFC_3339.fullmatch(value):
        raise ValueError("expected a moment with a zone, such as 2026-11-28T14:00:00Z")
    if not isinstance(value, str | datetime):
        raise ValueError("expected a text, such as 2026-11-28T14:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_as_written)]
"""A moment in RFC 3339."""
YesOrNo = Annotated[bool, Strict()]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Request(BaseModel):
    """The body of a request."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    """The body of an answer."""

    model_config = ConfigDict(frozen=True)
