"""From words to conditions on attributes.

schema.py      which attributes there are, how they are named, which exclude each other
vocabulary.py  the words of a schema, with everyday English
language.py    a description in words, parsed: `male,backpack,!hat,upper=red|blue`
sentence.py    the same as people type it: `man in a red jacket with a backpack`
words.py       the words as a list, and how well each is recognised
statistics.py  how frequent combinations of attributes are; completions of a description
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sal_runtime.lazy import lazy_names

if TYPE_CHECKING:
    from sal_runtime.query.language import Query as Query
    from sal_runtime.query.language import Term as Term
    from sal_runtime.query.language import parse_query as parse_query
    from sal_runtime.query.schema import AttributeSchema as AttributeSchema
    from sal_runtime.query.schema import Group as Group
    from sal_runtime.query.schema import State as State
    from sal_runtime.query.statistics import AttributeStatistics as AttributeStatistics
    from sal_runtime.query.words import list_words as list_words
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "schema": ("AttributeSchema", "Group", "State"),
            "language": ("Query", "Term", "parse_query"),
            "statistics": ("AttributeStatistics",),
            "words": ("list_words",),
        },
    )
