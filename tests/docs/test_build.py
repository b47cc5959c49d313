"""The documents show the numbers of the committed result files."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from pathlib import Path

import jinja2
import pytest

from benchmarks.speed.measurement import RESULTS
from docs.build import __main__ as command
from docs.build.pages import REPOSITORY, TEMPLATES, page_names, render
from docs.build.results import digits, percent
from docs.build.tables import (
    RECOGNISED,
    calibration,
    full_queries,
    partial_queries,
    rankings,
    recognised,
    seeds_of_bundles,
    seeds_of_runs,
    training,
)
from sal_runtime.errors import InputError

MEASURED = re.compile(
    r"(?<![\w.,-])\d[\d,]*\d(?!\w)"  # more than one digit
    r"|\d+\.\d+|[±≈~] ?\d|\b(?:mAP|rank-\d+)\b[^\w\n]{0,3}(?:of |is )?\d"
    r"|\d ?(?:%|[µm]?s\b|(?:percent|seconds?|minutes?|hours?|images?|points?|times|fold)\b|[kMGT]i?B\b|x (?!\d))"
)
REFERENCE = r"(?:et al\.|and [A-Z]\w+), (?:[A-Za-z]+ )?(?:19|20)\d\d|\beqs?\. \d+(?: (?:and|to) \d+)?"
"""The year of a paper after its authors, and the numbers of its equations."""
UNMEASURED = {
    "README.md": {
        "Python 3.11 or later": "a requirement",
        "best of 312 crops": "the demo gallery, which is committed",
        "encodes the 312 crops": "the demo gallery, which is committed",
        "PyTorch needs 1 GB": "the size of a package of others",
        "Apache-2.0": "a licence",
        "ECCV 2020": "a year",
        "9 MB with fp32 and int8": "the shipped bundle, which is committed",
        "The best 20 of 1,000,000 images": "a setting of the benchmark",
        "a gallery of 1,000,000": "a setting of the benchmark",
    },
    "docs/results.md": {
        "first 20 hits": "a setting of the evaluation",
        "batch 64": "a setting",
        "ResNet-50 (260 epochs in the authors' code)": "a setting of theirs",
        "counts 529 test categories": "Section 4 of the paper",
        "9,961 images of 8,395 people of PETA": "the size of a data set of earlier runs",
    },
    "docs/table1.md": {
        "256x128 images": "the setting",
        "508 training categories": "the split, in docs/data.md",
        "1,890 training categories": "the split, in docs/data.md",
        "529 the number of test categories": "Section 4 of the paper",
    },
}
"""Numbers of each document that look measured but are not, with the reason."""


def prose(text: str) -> str:
    """The prose of a template: no code, no expressions, no comments, no link targets, no references."""
    for pattern in (r"^```.*?^```$", r"\{[{%#].*?[}%#]\}", r"`[^`\n]*`", r"\]\([^)]*\)", REFERENCE):
        text = re.sub(pattern, "", text, flags=re.DOTALL | re.MULTILINE)
    return text


@pytest.mark.parametrize("name", page_names())
def test_documents_are_rendered_from_their_templates(name: str) -> None:
    assert (REPOSITORY / name).read_text(encoding="utf-8") == render(name), "python -m docs.build"


@pytest.mark.parametrize("name", UNMEASURED)
def test_measured_numbers_come_from_result_files(name: str) -> None:
    text = re.sub(r"\s+", " ", prose((TEMPLATES / f"{name}.j2").read_text(encoding="utf-8")))
    for phrase in UNMEASURED[name]:
        assert phrase in text, f"{phrase!r} is no longer in {name}: take it from the list"
        text = text.replace(phrase, "")
    found = [text[max(0, match.start() - 30) : match.end() + 10] for match in MEASURED.finditer(text)]
    assert found == [], f"docs/templates/{name}.j2: take these from a result file"


def test_the_readme_shows_few_measured_numbers() -> None:
    assert (TEMPLATES / "README.md.j2").read_text(encoding="utf-8").count("{{") <= 10


@pytest.mark.parametrize(
    "text",
    [
        "mAP 9",
        "0.2",
        "95 % of",
        "12",
        "3 s",
        "1,101 images a second",
        "8 x faster",
        "±2",
        "rank-1 of 2",
        "5 MB",
        "(69,",
    ],
)
def test_what_looks_measured(text: str) -> None:
    assert MEASURED.search(text)


@pytest.mark.parametrize("text", ["at 128x64", "7 epochs", "ResNet-50", "seed 1", "rank-1 and rank-10", "Article 5"])
def test_what_does_not_look_measured(text: str) -> None:
    assert not MEASURED.search(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (percent(0.14166), "14.2"),
        (percent(0.14166, 0), "14"),
        (digits(84796.0, 2), "85,000"),
        (digits(23.584, 3), "23.6"),
        (digits(9.96, 2), "10"),
        (digits(0.0996, 2), "0.10"),
    ],
)
def test_the_notation_of_numbers(text: str, expected: str) -> None:
    assert text == expected


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    (tmp_path / "one.json").write_text(
        json.dumps({"mAP": 0.179, "rows": [{"queries": 1, "ms": 1018.6}, {"queries": 64, "ms": 73.7}]})
    )
    return tmp_path


def rendered(templates: Path, text: str) -> str:
    (templates / "page.md.j2").write_text(text)
    return render("page.md", templates, templates)


def test_a_template_shows_numbers_of_a_result_file(templates: Path) -> None:
    text = rendered(
        templates,
        '{% set one = result("one.json") %}\n'
        "{{ one.mAP | percent }} {{ row(one.rows, queries=1).ms | decimals(1) }} {{ (2e6 / one.mAP) | digits(2) }}\n",
    )
    body, _, note = text.partition("\n\n")
    assert "docs/templates/page.md.j2" in note
    assert body == "17.9 1,018.6 11,000,000"


@pytest.mark.parametrize(
    ("expression", "error", "message"),
    [
        ('result("none.json").mAP', InputError, r"there is no result file 'none\.json'"),
        ('result("one.json").mAp | percent', jinja2.UndefinedError, "no attribute 'mAp'"),
        ('row(result("one.json").rows, queries=2)', InputError, r"0 rows have \{'queries': 2\}, expected one"),
        ('row(result("one.json").rows)', InputError, r"2 rows have \{\}, expected one"),
        ('training("none", "test")', InputError, "expected a plan"),
    ],
)
def test_a_missing_number_is_an_error(templates: Path, expression: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        rendered(templates, "{{ " + expression + " }}")


def test_the_command_checks_and_writes(
    templates: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "REPOSITORY", templates)
    monkeypatch.setattr(command, "PLOTS", {})
    monkeypatch.setattr(command, "page_names", lambda: ["page.md"])
    monkeypatch.setattr(command, "render", lambda name: f"{name} rendered\n")
    monkeypatch.setattr(command, "reference_pages", dict)
    page = templates / "page.md"
    page.write_text("edited\n")
    monkeypatch.setattr(sys, "argv", ["build", "--check"])
    assert command.main() == 1
    assert "page.md is not what" in capsys.readouterr().err
    assert page.read_text() == "edited\n"
    monkeypatch.setattr(sys, "argv", ["build"])
    assert command.main() == 0
    assert page.read_text() == "page.md rendered\n"
    monkeypatch.setattr(sys, "argv", ["build", "--check"])
    assert command.main() == 0


@pytest.mark.parametrize("arguments", [["--check"], []])
def test_a_plot_of_which_nothing_is_measured_is_not_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr(command, "page_names", list)
    monkeypatch.setattr(command, "reference_pages", dict)
    monkeypatch.setattr(command, "IMAGES", tmp_path)
    monkeypatch.setattr(command, "PLOTS", {"one": (lambda results: {}, None)})
    monkeypatch.setattr(sys, "argv", ["build", *arguments])
    assert command.main() == 0
    assert not list(tmp_path.iterdir())
    (tmp_path / "one.svg").write_text("drawn of numbers that are gone")
    if arguments:
        assert command.main() == 1
    else:
        with pytest.raises(InputError, match="no result file"):
            command.main()


def cells_of(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]


def write_training(results: Path, plan: str, dataset: str, name: str, seed: int, m_ap: float | None) -> None:
    folder = results / "training" / plan
    folder.mkdir(parents=True, exist_ok=True)
    metrics = None if m_ap is None else {"mAP": m_ap, "rank1": m_ap / 2, "rank5": m_ap, "rank10": m_ap}
    (folder / f"{dataset}-{name}-seed{seed}.json").write_text(
        json.dumps({"device": "cpu", "machine": {"cpu": "EPYC"}, "held_out": metrics, "test": metrics})
    )


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    (tmp_path / "ladder.toml").write_text(
        'datasets = ["peta"]\n'
        + "".join(f'[[runs]]\nname = "{name}"\ntitle = "{name}!"\n' for name in ("embed", "full", "adv"))
    )
    shutil.copy(RESULTS / "published.json", tmp_path)
    for seed, m_ap in ((1, 0.20), (2, 0.23), (3, 0.26)):
        write_training(tmp_path, "ladder", "peta", "embed", seed, m_ap)
    write_training(tmp_path, "ladder", "peta", "embed-more", 1, 0.9)
    write_training(tmp_path, "ladder", "peta", "full", 1, 0.31)
    return tmp_path


def test_a_plan_as_a_table(trained: Path) -> None:
    table = training(trained, "ladder", "test", trained)
    assert table.endswith("Computed on: EPYC.")
    heading, _, *rows = cells_of(table)
    assert heading[1:] == ["PETA: mAP", "PETA: rank-1", "PETA: paper, mAP / rank-1"]
    deviation = 100 * math.sqrt((0.03**2 + 0.03**2) / 2)
    assert rows == [
        ["embed!", f"23.0 ± {deviation:.1f} (3)", f"11.5 ± {deviation / 2:.1f} (3)", "31.3 / 34.0"],
        ["full!", "31.0", "15.5", "41.2 / 47.0"],
        ["adv!", "-", "-", "35.0 / 37.5"],
    ]
    _, _, *rows = cells_of(training(trained, "ladder", "held_out", trained))
    assert [row[-1] for row in rows] == ["-", "+8.0", "-"]


def test_a_run_that_was_not_measured_is_a_dash(trained: Path) -> None:
    write_training(trained, "ladder", "peta", "adv", 1, None)
    _, _, *rows = cells_of(training(trained, "ladder", "test", trained))
    assert rows[2][1:3] == ["-", "-"]


def test_runs_over_seeds(trained: Path) -> None:
    table, _, _ = seeds_of_runs(trained, "ladder", trained).partition("\n\n")
    _, _, *rows = cells_of(table)
    assert [row[:3] for row in rows] == [
        ["Market-1501", "paper: SAL", "29.8"],
        ["PETA", "embed!", "23.0 ± 3.0 (3)"],
        ["PETA", "full!", "31.0"],
        ["PETA", "paper: SAL", "41.2"],
    ]
    assert rows[1][3:] == ["11.5 ± 1.5 (3)", "23.0 ± 3.0 (3)", "23.0 ± 3.0 (3)", "-", "-"]


def test_bundles_over_seeds(tmp_path: Path) -> None:
    def write(file: str, value: float) -> None:
        part = {"mAP": value, "rank1": value / 2, "rank5": value, "rank10": value}
        by_source = {name: part | {"unseen": part} for name in ("market1501", "peta")}
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"by_source": by_source, "match": {"by_source": by_source}}))

    shutil.copy(RESULTS / "published.json", tmp_path)
    write("eval_street_edge.json", 0.2)
    write("seeds/eval_street_edge_2.json", 0.3)
    write("eval_street_large.json", 0.4)
    table, _, _ = seeds_of_bundles(tmp_path, "edge", "large").partition("\n\n")
    _, _, *rows = cells_of(table)
    deviation = 100 * math.sqrt(2 * 0.05**2)
    assert rows[0][:3] == ["Market-1501", "`edge`", f"25.0 ± {deviation:.1f} (2)"]
    assert rows[0][6:] == ["-", f"25.0 ± {deviation:.1f} (2) / 12.5 ± {deviation / 2:.1f} (2)"]
    assert [row[1] for row in rows] == ["`edge`", "`large`", "paper: SAL"] * 2
    assert rows[1][2:4] == ["40.0", "20.0"]
    assert (rows[2][2], rows[5][2]) == ("29.8", "41.2")


def test_tables_of_reports() -> None:
    (file,) = RESULTS.rglob("eval_market1501_edge.json")
    report = json.loads(file.read_text())
    _, _, *rows = cells_of(full_queries(RESULTS, file.relative_to(RESULTS).as_posix()))
    assert [row[1] for row in rows] == ["cosine", "centred cosine", "attribute head", "-", "-"]
    head, error = report["attribute_likelihood"], report["attribute_likelihood"]["standard_error"]
    assert rows[2][5] == f"{round(100 * head['rank10'], 1)} ±{round(100 * error['rank10'], 1)}"
    assert rows[2][7] == f"{round(100 * head['unseen']['mAP'], 1)} / {round(100 * head['unseen']['rank1'], 1)}"
    assert rows[4][2:6] == ["29.8", "49.0", "68.6", "77.5"]

    _, _, *rows = cells_of(rankings({"a": report, "b c": head, "d": head["unseen"]}))
    assert [cells[0] for cells in rows] == ["a", "b c", "d"]
    assert rows[1][4] == f"{round(100 * head['rank10'], 1)}"
    assert rows[2][4] == f"{round(100 * head['unseen']['rank10'], 1)}"

    heading, _, *rows = cells_of(partial_queries(report))
    assert heading == ["rule", "1", "2", "3", "5", "10", "all"]
    given_3 = report["partial"]["by_number_given"][2]
    assert given_3["given"] == 3
    assert rows[1][3] == f"{round(100 * given_3['rules']['zeros']['mAP'], 1)}"
    assert rows[3][0].startswith("match score")
    assert rows[3][3] == f"{round(100 * given_3['rules']['match']['mAP'], 1)}"
    assert rows[4][3] == f"{round(100 * given_3['share_relevant'], 1)}"


def test_the_calibration_table_has_the_errors_of_the_bins() -> None:
    (file,) = RESULTS.rglob("eval_peta.json")
    report = json.loads(file.read_text())
    _, _, row = cells_of(calibration(RESULTS, file.relative_to(RESULTS).as_posix()))
    for part, cell in (("all_pairs", row[2]), ("top20", row[3])):
        bins = report["partial"]["calibration"][part]["bins"]
        pairs = sum(one["pairs"] for one in bins)
        error = sum(one["pairs"] * abs(one["likelihood"] - one["matching"]) for one in bins) / pairs
        assert float(cell) == pytest.approx(100 * error, abs=0.051)


def test_words_are_recognised_as_often_as_the_model_card_says() -> None:
    card = (REPOSITORY / "bundles" / "edge" / "MODEL_CARD.md").read_text(encoding="utf-8")
    _, _, *rows = cells_of(recognised("bundles/edge"))
    share = {word: float(rate) for _, words in rows for word, rate in re.findall(r"([^,]+?) (\d+)(?:, |$)", words)}
    heading, *table = [
        line.split(" | ") for line in card[card.index("| attribute |") :].partition("\n\n")[0].splitlines()
    ]
    seen, missed = heading.index("recognised"), heading.index("rejected")
    measured = [cells for cells in table[1:] if cells[seen] != "-"]
    assert len(measured) > 20
    for cells in measured:
        name, value = cells[0].removeprefix("| ").removesuffix(" (sensitive)"), cells[1]
        present, _, absent = value.partition(" (or ")
        assert share[present if absent else f"{name} {value}"] == float(cells[seen])
        other = absent.removesuffix(")")
        if absent and other == f"no-{name}":
            assert other not in share
        elif other:
            assert share[other] == float(cells[missed])
    for title, least, below in RECOGNISED:
        ((_, words),) = [row for row in rows if row[0] == title]
        rates = [float(rate) for rate in re.findall(r" (\d+)(?:, |$)", words)]
        assert all(100 * least - 0.5 <= rate <= 100 * below + 0.5 for rate in rates), title


def test_published_numbers_are_consistent() -> None:
    published = json.loads((RESULTS / "published.json").read_text())
    rows = [(row["table"], row["dataset"], row["model"]) for row in published["rows"]]
    assert len(set(rows)) == len(rows)
    for row in published["rows"]:
        assert 0 < row["rank1"] <= row["rank5"] <= row["rank10"] < 100
    full = [row for row in published["rows"] if row["dataset"] == "peta" and row["mAP"] == 41.2]
    assert {row["table"] for row in full} == {1, 2, 3, 4}
    assert len({(row["rank1"], row["rank5"], row["rank10"]) for row in full}) == 1


@pytest.mark.parametrize("card", sorted(REPOSITORY.glob("bundles/*/MODEL_CARD.md")), ids=lambda path: path.parent.name)
def test_model_cards_have_the_numbers_of_their_reports(card: Path) -> None:
    text = card.read_text(encoding="utf-8")
    file = re.search(r"--out (benchmarks/results/\S+\.json)", text)
    assert file is not None, "the card names no report"
    report = json.loads((REPOSITORY / file[1]).read_text())
    parts = {name: report.get(name) for name in ("seen", "unseen")} | {"all": report, **report.get("by_source", {})}
    for key, title in (("attribute_likelihood", "ranked by its attribute head"), ("match", "in the order of search")):
        ranked = report.get(key, {})
        parts |= {title: ranked} | {f"{title}, {name}": part for name, part in ranked.get("by_source", {}).items()}
    table = text[text.index("| queries |") :].partition("\n\n")[0]
    rows = re.findall(r"^\| ([a-z].*?)(?: \(\d+ queries\))? \| (\d.*) \|$", table, re.M)
    assert len(rows) >= 3
    for name, cells in rows:
        assert cells.split(" | ") == [f"{100 * parts[name][key]:.1f}" for key in ("mAP", "rank1", "rank5", "rank10")]
