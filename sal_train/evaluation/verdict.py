"""Whether a model is good, in one sentence for people who do not read tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sal_train.evaluation.attribute_recognition import STANDARD_ERRORS, full_name, strength

FEW_QUERIES, FEWEST_QUERIES = 30, 5
"""Queries below which a measurement says little, and nothing."""
GOOD, FAIR = 0.5, 0.25
"""Share of descriptions whose first hit is right."""
MAX_NAMED = 4


def search_verdict(report: Mapping[str, Any]) -> str:
    """How well full descriptions find their people.

    Args:
        report: `mAP`, `rank1`, `standard_error`, `num_queries` and `random`, as in the report of `sal eval`.
    """
    chance, queries = report["random"], report["num_queries"]
    if queries < FEWEST_QUERIES:
        return f"CANNOT BE TOLD: {queries} full description{'s' * (queries != 1)} could be asked, too few for a verdict"
    first, by_chance = 100 * report["rank1"], 100 * chance["rank1"]
    if report["mAP"] - STANDARD_ERRORS * report["standard_error"]["mAP"] <= chance["mAP"]:
        text = "NOT USABLE: search is no better than chance"
    elif report["rank1"] >= GOOD:
        text = "GOOD"
    else:
        text = "FAIR" if report["rank1"] >= FAIR else "WEAK"
    text += f": the first hit is right for {first:.0f} of 100 full descriptions (by chance {by_chance:.0f})"
    if queries < FEW_QUERIES:
        error = 100 * STANDARD_ERRORS * report["standard_error"]["rank1"]
        text += f"; only {queries} were asked, so this is uncertain by {error:.0f} points"
    return text


def attributes_verdict(recognition: Mapping[str, Any]) -> str:
    """How many attributes the attribute head recognises, and which it does not.

    Args:
        recognition: from `recognition_rates`.
    """
    strengths = {name: strength(rates) for name, rates in recognition["by_attribute"].items()}
    measured = {name: word for name, word in strengths.items() if word not in ("unknown", "few")}
    if not measured:
        return "no attribute could be measured: too few people have it, or all have"
    better = sum(word != "chance" for word in measured.values())
    text = f"{better} of {len(measured)} attributes are recognised better than by chance"
    groups = {name: rates["group"] for name, rates in recognition["by_attribute"].items()}
    failed = [full_name(name, groups[name]) for name, word in measured.items() if word == "chance"]
    if failed:
        more = f" and {len(failed) - MAX_NAMED} more" if len(failed) > MAX_NAMED else ""
        text += f"; not: {', '.join(failed[:MAX_NAMED])}{more}"
    return text
