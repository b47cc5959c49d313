"""Every number of the documents is one of a committed result file."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from pathlib import Path

import pytest

from benchmarks.speed.measurement import RESULTS
from docs.build import documented_numbers, result_tables
from docs.build.documented_numbers import FIGURE, TABLE, compute, documents, formatted, rewrite
from docs.build.result_tables import make_table

REPOSITORY = Path(__file__).parents[2]
MEASURED = re.compile(
    r"(?<![\w.,-])\d[\d,]*\d(?!\w)"  # more than one digit
    r"|\d+\.\d+|[±≈~] ?\d|\b(?:mAP|rank-\d+)\b[^\w\n]{0,3}(?:of |is )?\d"
    r"|\d ?(?:%|[µm]?s\b|(?:percent|seconds?|minutes?|hours?|images?|points?|times|fold)\b|[kMGT]i?B\b|x (?!\d))"
)
UNMEASURED = {
    "README.md": {
        "Python 3.11 or later": "a requirement",
        "Apache-2.0": "a licence",
        "ECCV 2020": "a year",
        "completed in 256 ways": "a setting",
        "23 MB with fp32 and int8": "the size of the shipped bundle, which is committed",
        "ResNet-50 (260 epochs in the authors' code)": "a setting of theirs",
        "The best 10 of 1,000,000": "what was measured",
        "for 64 together": "what was measured",
        "a gallery of 1,000,000": "what was measured",
    },
    "docs/results.md": {
        "batch 64": "a setting",
        "ResNet-50 (260 epochs in their code)": "a setting of theirs",
        "counts 529 test categories": "Section 4 of the paper",
        "first 20 hits": "what was measured",
        "9,961 images of 8,395 people of PETA": "the size of the data, which a test counts",
    },
}
"""What looks measured and is not, by document, each with the reason; nothing that a run gave belongs here."""


def prose(text: str) -> str:
    """What of a document states something: no code, no marked figures, no generated tables, no link targets."""
    for pattern in (r"^```.*?^```$", TABLE, FIGURE, r"`[^`\n]*`", r"\]\([^)]*\)"):
        text = re.sub(pattern, "", text, flags=0 if isinstance(pattern, re.Pattern) else re.DOTALL | re.MULTILINE)
    return text


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_the_documents_have_the_numbers_of_the_result_files(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    new, said = rewrite(text, RESULTS, path.name)
    assert said == [], "python -m docs.build.documented_numbers --write"
    assert new == text


def test_the_documents_have_marks() -> None:
    marked = {path.name for path in documents() if FIGURE.search(path.read_text(encoding="utf-8"))}
    assert {"README.md", "results.md", "scaling.md", "ranking.md"} <= marked


@pytest.mark.parametrize("name", UNMEASURED)
def test_no_measured_number_stands_outside_of_a_mark(name: str) -> None:
    text = re.sub(r"\s+", " ", prose((REPOSITORY / name).read_text(encoding="utf-8")))
    for phrase in UNMEASURED[name]:
        assert phrase in text, f"{phrase!r} is no longer in {name}: take it from the list"
        text = text.replace(phrase, "")
    found = [text[max(0, match.start() - 30) : match.end() + 10] for match in MEASURED.finditer(text)]
    assert found == [], f"{name}: mark these with their result file (docs/build/documented_numbers.py)"


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


@pytest.fixture
def results(tmp_path: Path) -> Path:
    document = {
        "mAP": 0.14166,
        "name": "edge",
        "stable": True,
        "zero": 0,
        "rate": 84796.0,
        "rows": [{"queries": 1, "by": "sal, 10% allowed", "ms": 18.6}, {"queries": 64, "by": "sal", "ms": 73.7}],
    }
    (tmp_path / "one.json").write_text(json.dumps(document))
    (tmp_path / "two.json").write_text(json.dumps({"ms": 36.85}))
    return tmp_path


@pytest.mark.parametrize(
    ("formula", "form", "expected"),
    [
        ("one.json#mAP", "percent.1", "14.2"),
        ("one.json#mAP", "percent~1", "10"),
        ("one.json#mAP", ".3", "0.142"),
        ("one.json#rate", ".0", "84,796"),
        ("one.json#rate", "~2", "85,000"),
        ("one.json#rows/queries=1&by=sal, 10% allowed/ms", ".1", "18.6"),
        ("one.json#rows/queries=64/ms / two.json#ms", ".2", "2.00"),
        ("one.json#rows/queries=64/ms / #rows/queries=1/ms", ".2", "3.96"),
        ("2 / one.json#rate * 1e6", "~3", "23.6"),
        ("9.96 * 1", "~2", "10"),
        ("0.0996 * 1", "~2", "0.10"),
    ],
)
def test_formulas_and_formats(results: Path, formula: str, form: str, expected: str) -> None:
    assert formatted(compute(formula, results), form) == expected
    marked = f"| so 1<!-- {formula} as {form} --> | much |"
    assert rewrite(marked, results, "page.md")[0] == f"| so {expected}<!-- {formula} as {form} --> | much |"


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ("1<!-- none.json#mAP as .1 -->", "there is no result file 'none.json'"),
        ("1<!-- one.json#mAp as .1 -->", "one.json#mAp: there is no 'mAp'"),
        ("1<!-- one.json#rows/queries=2/ms as .1 -->", "0 entries of the list are 'queries=2', expected one"),
        ("1<!-- one.json#rows/0/ms as .1 -->", "0 entries of the list are '0', expected one"),
        ("1<!-- one.json#name as .1 -->", "one.json#name is not a number but 'edge'"),
        ("1<!-- one.json#stable as .1 -->", "one.json#stable is not a number but 'True'"),
        ("1<!-- one.json#mAP / #zero as .1 -->", "#zero is zero"),
        ("1<!-- one.json as .1 -->", "'one.json' is neither a number nor FILE#PATH"),
        ("1<!-- one.json#mAP as 1 -->", "format '1' is not known"),
        ("1 <!-- one.json#mAP as .1 -->", "comment not understood"),
        ("1<!-- one.json#mAP -->", "comment not understood"),
        ("<!-- table calibration one.json -->", "comment not understood"),
        ("<!-- end of table -->", "comment not understood"),
        ("<!-- table nothing -->\n<!-- end of table -->", "table 'nothing' is not known"),
        ("<!-- table partial_queries one.json -->\n<!-- end of table -->", "a result file has no 'partial'"),
        ("<!-- table training none test -->\n<!-- end of table -->", "expected a plan"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(results: Path, mark: str, message: str) -> None:
    text = f"# Title\n\n{mark}\n"
    new, said = rewrite(text, results, "page.md")
    assert new == text
    assert len(said) == 1
    assert said[0].startswith("page.md:3: ")
    assert message in said[0]


def test_a_wrong_number_is_said_and_put_right(results: Path) -> None:
    new, said = rewrite("x\n**14.3<!-- one.json#mAP as percent.1 -->**\n", results, "page.md")
    assert said == ["page.md:2: found '14.3', expected '14.2', which is one.json#mAP"]
    assert new == "x\n**14.2<!-- one.json#mAP as percent.1 -->**\n"
    assert rewrite(new, results, "page.md") == (new, [])


def test_the_command_checks_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "one.json").write_text('{"mAP": 0.179}')
    document = tmp_path / "README.md"
    document.write_text("# Title\n\n1.0<!-- one.json#mAP as percent.1 -->\n")
    monkeypatch.setattr(documented_numbers, "REPOSITORY", tmp_path)
    monkeypatch.setattr(documented_numbers, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(sys, "argv", ["documented_numbers"])
    assert documented_numbers.main() == 1
    assert "README.md:3: found '1.0', expected '17.9', which is one.json#mAP" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["documented_numbers", "--write"])
    assert documented_numbers.main() == 0
    assert document.read_text() == "# Title\n\n17.9<!-- one.json#mAP as percent.1 -->\n"
    monkeypatch.setattr(sys, "argv", ["documented_numbers"])
    assert documented_numbers.main() == 0


def cells_of(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]


def write_training(results: Path, plan: str, dataset: str, name: str, seed: int, m_ap: float | None) -> None:
    folder = results / "training" / plan
    folder.mkdir(parents=True, exist_ok=True)
    metrics = None if m_ap is None else {"mAP": m_ap, "rank1": m_ap / 2}
    (folder / f"{dataset}-{name}-seed{seed}.json").write_text(
        json.dumps({"device": "cpu", "machine": {"cpu": "EPYC"}, "held_out": metrics, "test": metrics})
    )


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(result_tables, "PLANS", tmp_path)
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
    table = make_table("training ladder test", trained)
    assert table.endswith("Computed on: EPYC.")
    heading, _, *rows = cells_of(table)
    assert heading[1:] == ["PETA: mAP", "PETA: rank-1", "PETA: paper, mAP / rank-1"]
    deviation = 100 * math.sqrt((0.03**2 + 0.03**2) / 2)
    assert rows == [
        ["embed!", f"23.0 ± {deviation:.1f} (3)", f"11.5 ± {deviation / 2:.1f} (3)", "31.3 / 34.0"],
        ["full!", "31.0", "15.5", "41.2 / 47.0"],
        ["adv!", "-", "-", "35.0 / 37.5"],
    ]
    _, _, *rows = cells_of(make_table("training ladder held_out", trained))
    assert [row[-1] for row in rows] == ["-", "+8.0", "-"]


def test_a_run_that_was_not_measured_is_a_dash(trained: Path) -> None:
    write_training(trained, "ladder", "peta", "adv", 1, None)
    _, _, *rows = cells_of(make_table("training ladder test", trained))
    assert rows[2][1:3] == ["-", "-"]


def test_tables_of_reports() -> None:
    report = json.loads((RESULTS / "eval_market1501_edge.json").read_text())
    _, _, *rows = cells_of(make_table("full_queries eval_market1501_edge.json", RESULTS))
    assert [row[1] for row in rows] == ["cosine", "centred cosine", "attribute head", "-", "-"]
    head, error = report["attribute_likelihood"], report["attribute_likelihood"]["standard_error"]
    assert rows[2][5] == f"{round(100 * head['rank10'], 1)} ±{round(100 * error['rank10'], 1)}"
    assert rows[2][7] == f"{round(100 * head['unseen']['mAP'], 1)} / {round(100 * head['unseen']['rank1'], 1)}"
    assert rows[4][2:6] == ["29.8", "49.0", "68.6", "77.5"]

    by_head = "eval_market1501_edge.json#attribute_likelihood"
    titled = f"a = eval_market1501_edge.json;\nb c = {by_head}; d = {by_head}/unseen"
    _, _, *rows = cells_of(make_table(f"rankings {titled}", RESULTS))
    assert [row[0] for row in rows] == ["a", "b c", "d"]
    assert rows[1][4] == f"{round(100 * head['rank10'], 1)}"
    assert rows[2][4] == f"{round(100 * head['unseen']['rank10'], 1)}"

    heading, _, *rows = cells_of(make_table("partial_queries eval_market1501_edge.json", RESULTS))
    assert heading == ["rule", "1", "2", "3", "5", "10", "all"]
    given_3 = report["partial"]["by_number_given"][2]
    assert given_3["given"] == 3
    assert rows[1][3] == f"{round(100 * given_3['rules']['zeros']['mAP'], 1)}"
    assert rows[3][3] == f"{round(100 * given_3['share_relevant'], 1)}"


def test_the_calibration_table_has_the_errors_of_the_bins() -> None:
    report = json.loads((RESULTS / "eval_peta.json").read_text())
    _, _, row = cells_of(make_table("calibration eval_peta.json", RESULTS))
    for part, cell in (("all_pairs", row[2]), ("top20", row[3])):
        bins = report["partial"]["calibration"][part]["bins"]
        pairs = sum(one["pairs"] for one in bins)
        error = sum(one["pairs"] * abs(one["likelihood"] - one["matching"]) for one in bins) / pairs
        assert float(cell) == pytest.approx(100 * error, abs=0.051)


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
    parts = {
        "all": report,
        "seen": report.get("seen"),
        "unseen": report["unseen"],
        "ranked by its attribute head": report["attribute_likelihood"],
    }
    rows = re.findall(
        r"^\| (all|seen|unseen|ranked by its attribute head)(?: \(\d+ queries\))? \| (.*) \|$", text, re.M
    )
    assert len(rows) >= 3
    for name, cells in rows:
        assert cells.split(" | ") == [f"{100 * parts[name][key]:.1f}" for key in ("mAP", "rank1", "rank5", "rank10")]
