from __future__ import annotations

import json
from pathlib import Path

from sal_export.model_card import model_card
from sal_runtime.schema import AttributeSchema

SHIPPED = Path(__file__).parents[2] / "bundles" / "edge" / "manifest.json"


def test_the_card_names_the_data_that_a_trunk_from_another_run_learned_from() -> None:
    manifest = json.loads(SHIPPED.read_text())
    schema = AttributeSchema.from_json(manifest["schema"])
    assert "of a run trained on" not in model_card(manifest, schema)
    manifest["training"]["pretrained"] = {
        "source": "model.safetensors",
        "loaded": 294,
        "missing": [],
        "trained_on": ["peta: PETA (Deng et al.); research only", "city: C; ask first"],
    }
    row = next(line for line in model_card(manifest, schema).splitlines() if line.startswith("| its first weights"))
    assert "of a run trained on peta: PETA (Deng et al.); research only and on city: C; ask first" in row
