from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sal_export.model_card import model_card
from sal_runtime.query.schema import AttributeSchema

SHIPPED = Path(__file__).parents[2] / "bundles" / "edge" / "manifest.json"


def shipped() -> tuple[dict[str, Any], AttributeSchema]:
    manifest = json.loads(SHIPPED.read_text())
    return manifest, AttributeSchema.from_json(manifest["schema"])


def test_the_card_names_the_data_that_a_trunk_from_another_run_learned_from() -> None:
    manifest, schema = shipped()
    published = {"source": "imagenet.pth", "loaded": 294, "missing": []}
    manifest["training"]["pretrained"] = published
    assert "of a run trained on" not in model_card(manifest, schema)
    manifest["training"]["pretrained"] = {
        "source": "model.safetensors",
        "loaded": 294,
        "missing": [],
        "trained_on": ["peta: PETA (Deng et al.); research only", "city: C; ask first"],
    }
    row = next(line for line in model_card(manifest, schema).splitlines() if line.startswith("| initial weights"))
    assert "of a run trained on peta: PETA (Deng et al.); research only and on city: C; ask first" in row


def test_the_card_says_what_a_person_network_has_seen() -> None:
    manifest, schema = shipped()
    began = "identity labels of people"
    start = {"source": "osnet_0287.safetensors", "missing": []}
    for backbone, source, says in (
        ("osnet_0287", "osnet_0287.safetensors", True),
        ("osnet_0287", "none", False),
        ("resnet50", "imagenet", False),
    ):
        manifest["training"] |= {"backbone": backbone, "pretrained": start | {"source": source}}
        manifest["training"].pop("teacher", None)
        assert (began in model_card(manifest, schema)) == says
    teacher = {"run": "large", "dataset": "city", "attribution": "C et al.", "licence": "ask first"}
    manifest["training"]["teacher"] = teacher | {"backbone": "osnet_0277", "pretrained": start}
    row = next(line for line in model_card(manifest, schema).splitlines() if line.startswith("| taught by"))
    assert began in row


def test_the_card_says_what_a_threshold_on_the_likelihood_costs() -> None:
    manifest, schema = shipped()
    error = {"expected_calibration_error": 0.0123}
    point = {"min_likelihood": 0.5, "shown_per_query": 1234.4, "precision": 0.617}
    manifest["metrics"]["partial"] = {
        "calibration": {"all_pairs": error, "top20": {"expected_calibration_error": 0.081}},
        "operating_points": [point | {"recall": 0.25, "false_positive_rate": 0.0042}],
    }
    card = model_card(manifest, schema)
    assert "1.2 over all pairs, 8.1 over the first 20 hits" in card
    assert "| 0.5 | 1,234 | 62 | 25 | 0.42 |" in card
    manifest["metrics"]["partial"]["operating_points"] = [
        point | {"precision": None, "recall": None, "false_positive_rate": None}
    ]
    assert "| 0.5 | 1,234 | - | - | - |" in model_card(manifest, schema)
    del manifest["metrics"]["partial"]
    assert "Likelihood of match" not in model_card(manifest, schema)


def test_the_card_names_the_teacher() -> None:
    manifest, schema = shipped()
    manifest["training"].pop("teacher", None)
    assert "taught by" not in model_card(manifest, schema)
    manifest["training"]["teacher"] = {
        "run": "large",
        "backbone": "resnet50",
        "dataset": "city",
        "attribution": "C et al.",
        "licence": "ask first",
        "pretrained": {"source": "part.safetensors", "missing": ["layer4.0.conv2"]},
    }
    other = {**manifest["training"]["teacher"], "run": "larger"}
    manifest["training"]["other_teachers"] = [other]
    row, last = (line for line in model_card(manifest, schema).splitlines() if line.startswith("| taught by"))
    assert "larger (resnet50), trained on city" in last
    assert "large (resnet50), trained on city: C et al.; ask first; its initial weights part.safetensors" in row
    assert "started at random: layer4.0.conv2" in row


def test_the_shipped_bundle_names_no_folder_of_the_machine_that_trained_it() -> None:
    weights = shipped()[0]["training"]["model"]["weights"]
    assert weights == Path(weights).name == "osnet_0287.safetensors"
