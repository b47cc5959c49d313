"""Documents that are not written by hand: those that show measured numbers, and the API reference.

    python -m docs.build            # render every template, write the reference, draw every plot
    python -m docs.build --check    # write nothing; exit code 1 if a document or a plot differs

The template `docs/templates/PATH.j2` becomes the document `PATH`, so `docs/templates/README.md.j2` becomes `README.md`.
A template is Markdown with Jinja expressions:

    {% set search = result("search.json") %}
    {% set sal = row(search.rows, queries=64, contender="sal") %}
    64 queries take {{ sal.latency_ms.median | decimals(1) }} ms.

results.py  `result(FILE)`, `row(ROWS, KEY=VALUE)` and the filters `decimals`, `digits` and `percent`
tables.py   functions that return a Markdown table: `full_queries`, `rankings`, `partial_queries`, `calibration`,
            `operating_points`, `training`
budget.py   `first_hits`, `known_groups`, `query_kinds`, `distances` of an error budget; `generated` of a generator
verdict.py  `verdict`, the table of a plan whose rows are compared by paired tests; `paired`, two runs
marks.py    `marked` and `mark_rules` of searches that learn from marks, and their plot
table1.py   `grid`, `common_counts`, `beside_the_paper`, `end_to_end`, `comparable`, `against_sal`, `ahead`, `mean_map`,
            `is_measured` and `tried` of the systems of the paper's Table 1; their plots are in table1_plots.py
licences.py `licences`, the table of what an installation brings along
pages.py    from a template to a document
reference.py  `docs/api/*.md`, from the docstrings of the public names
plots.py    `docs/images/*.svg`; needs matplotlib
site.py     all of it as a site; `python -m docs.build.site`, needs Zensical
"""
