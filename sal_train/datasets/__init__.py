"""Data sets of people with attributes, all in one form: two splits of images, labelled by categories.

splits.py          the common form: splits, categories, the search protocol
load.py            a data set by its name
market1501.py      Market-1501 with attributes
peta.py            PETA
peta_schema.py     its 105 attributes as a schema
pa100k.py          PA-100K, and its 26 attributes as a schema
street.py          Market-1501, PETA and PA-100K in one vocabulary, all or some of them
street_schema.py   its words, and the labels of each in them
attribute_tree.py  training statistics of the attributes, also of labels with gaps
table.py           your own images and a table
table_file.py      rows of the table: CSV, TSV, JSON Lines, JSON
columns.py         its columns as attributes
text_files.py      text that people write: tables, schemas, recipes
synthetic.py       drawn people
check.py           `sal data check`
stats.py           `sal data stats`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sal_runtime.lazy import lazy_names

if TYPE_CHECKING:
    from sal_train.datasets.load import load_dataset as load_dataset
    from sal_train.datasets.splits import SearchDataset as SearchDataset
    from sal_train.datasets.splits import Split as Split
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "load": ("load_dataset",),
            "splits": ("SearchDataset", "Split"),
        },
    )
