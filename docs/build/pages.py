"""From a template to a document."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.speed.measurement import RESULTS
from docs.build import budget, groups, licences, marks, table1, tables, verdict
from docs.build.results import decimals, digits, percent, read_result, row

REPOSITORY = Path(__file__).parents[2]
TEMPLATES = REPOSITORY / "docs" / "templates"


def page_names(templates: Path = TEMPLATES) -> list[str]:
    """The documents that have a template, as paths from the top of the repository."""
    return sorted(path.relative_to(templates).with_suffix("").as_posix() for path in templates.rglob("*.j2"))


def render(name: str, templates: Path = TEMPLATES, results: Path = RESULTS) -> str:
    """The text of a document.

    Args:
        name: path of the document from the top of the repository.
        templates: folder of the templates.
        results: folder of the result files.

    Raises:
        InputError: a result file or a row of it is missing.
        jinja2.TemplateError: the template is malformed, or names a key that a result file does not have.
    """
    environment = Environment(
        loader=FileSystemLoader(templates), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"decimals": decimals, "digits": digits, "percent": percent}
    environment.globals["licences"] = licences.licences
    environment.globals |= {
        "result": lambda file: read_result(results / file),
        "row": row,
        "rankings": tables.rankings,
        "full_queries": partial(tables.full_queries, results),
        "seeds_of_bundles": partial(tables.seeds_of_bundles, results),
        "seeds_of_runs": partial(tables.seeds_of_runs, results),
        "partial_queries": tables.partial_queries,
        "calibration": partial(tables.calibration, results),
        "operating_points": tables.operating_points,
        "recognised": tables.recognised,
        "training": partial(tables.training, results),
        "verdict": partial(verdict.verdict, results),
        "paired": partial(verdict.paired, results),
        **{
            function.__name__: partial(function, results)
            for function in (
                budget.first_hits,
                budget.known_groups,
                budget.query_kinds,
                budget.distances,
                budget.generated,
                groups.gap,
                groups.group_means,
                groups.group_words,
                marks.marked,
                marks.mark_rules,
                table1.against_sal,
                table1.ahead,
                table1.beside_the_paper,
                table1.common_counts,
                table1.comparable,
                table1.end_to_end,
                table1.grid,
                table1.is_measured,
                table1.mean_map,
                table1.tried,
            )
        },
    }
    note = f"\n<!-- Rendered from docs/templates/{name}.j2 by `python -m docs.build`; edit the template. -->\n"
    return environment.get_template(f"{name}.j2").render().lstrip("\n") + note
