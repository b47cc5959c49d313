"""Searches that learn from marks: the documents show the result, and the service uses what was chosen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.speed.measurement import RESULTS
from docs.build.marks import FILE, mark_rules, marked
from docs.build.pages import REPOSITORY
from sal_service.galleries.feedback import EVIDENCE, RIGHT, WRONG

RESULT = json.loads((RESULTS / FILE).read_text())


def test_the_service_uses_the_chosen_weights_and_the_page_names_them() -> None:
    weights = {"right": RIGHT, "wrong": WRONG, "evidence": EVIDENCE}
    assert {name: RESULT["held_out"]["chosen"][name] for name in weights} == RESULT["weights"] == weights
    page = (REPOSITORY / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert f"d = {RIGHT:g} mean(right) - {WRONG:g} mean(wrong)" in page


def test_a_row_for_each_number_of_rounds(tmp_path: Path) -> None:
    after = {"mAP": 0.5, "calibration_error": {"before": 0.04, "after": 0.051}}
    after |= {"residual_mAP_before": 0.3, "residual_mAP": 0.4, "residual_rank1_before": 0.6, "residual_rank1": 0.75}
    before = after | {"residual_mAP": 0.3, "residual_rank1": 0.6, "calibration_error": {"before": 0.04, "after": 0.04}}
    measured = {"images": 9, "full": {"rounds": [before, after]}, "three": {"rounds": [before, after]}}
    (tmp_path / FILE).write_text(json.dumps({"datasets": {"peta": measured}}))
    first, second, third, _ = marked(tmp_path).splitlines()[2:]
    assert first == "| PETA | full | 0 | 50.0 | 30.0 | 60.0 | 4.0 |"
    assert second == "| PETA | full | 1 | 50.0 | 30.0 → 40.0 | 60.0 → 75.0 | 4.0 → 5.1 |"
    assert third.startswith("| PETA | three attributes | 0 |")


def test_the_chosen_weights_and_the_best_of_each_rule(tmp_path: Path) -> None:
    def rule(name: str, right: float, evidence: float) -> dict[str, object]:
        gains = {"full": [0.0, 0.1, 0.2], "three": [0.0, 0.03, 0.04]}
        return {"rule": name, "right": right, "wrong": 0.5, "evidence": evidence, "error_grows": 0.02, **gains}

    rules = [rule("nearest", 4, 0), rule("rocchio", 3, 0), rule("rocchio", 2, 2), rule("rocchio", 1, 1)]
    (tmp_path / FILE).write_text(json.dumps({"held_out": {"rules": rules, "chosen": rules[3]}}))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in mark_rules(tmp_path).splitlines()[2:]]
    assert [row[1] for row in rows] == [
        "1 / 0.5 / 1",
        "4 / 0.5 / 0",
        "3 / 0.5 / 0",
        "2 / 0.5 / 2",
    ]
    assert [row[0] for row in rows][::2] == ["chosen", "this rule, only the cosine learns"]
    assert rows[0][2:] == ["+10.0", "+20.0", "+3.0", "+4.0", "+2.0"]


@pytest.mark.parametrize("dataset", ["market1501", "peta"])
def test_marks_help_with_every_description(dataset: str) -> None:
    for kind in ("full", "three"):
        for after in RESULT["datasets"][dataset][kind]["rounds"][1:]:
            assert after["residual_mAP"] > after["residual_mAP_before"]
