"""Calibrate a bundle anew, without the run that it was exported from, such as one of an earlier version of sal.

    python -m scripts.calibrate_bundle bundles/edge --dataset street --data DATA
    sal eval --bundle bundles/edge --dataset street --data DATA --attach

The encoders stay as they are, and so does the fingerprint: galleries of the bundle stay valid. The test numbers are
removed, because they measure the calibration, too. A bundle does not record which training categories its training
held out: name the recipe's share and seed if they are not those of `edge` and `sal`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from rich.console import Console

from sal_export.publish import publish
from sal_runtime.bundle.bundle import MANIFEST, MODEL_CARD
from sal_runtime.errors import InputError
from sal_runtime.files import cache_folder
from sal_runtime.query.schema import AttributeSchema
from sal_train.config import DataConfig
from sal_train.datasets.load import load_dataset
from sal_train.evaluation.calibrate import calibrate
from sal_train.evaluation.subject import bundle_subject


def main() -> None:
    """Read the arguments, fit, and write the bundle."""
    parser = argparse.ArgumentParser(description="Calibrate a bundle anew.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--dataset", required=True, help="the data set of the training")
    parser.add_argument("--data", type=Path, default=Path("."), help="folder of the data set")
    parser.add_argument("--validation-fraction", type=float, default=0.1)
    parser.add_argument("--validation-seed", type=int, default=DataConfig().validation_seed)
    parser.add_argument("--seed", type=int, default=1, help="of the queries")
    arguments = parser.parse_args()
    held_out = DataConfig(validation_fraction=arguments.validation_fraction, validation_seed=arguments.validation_seed)
    dataset = load_dataset(arguments.dataset, arguments.data)
    manifest = json.loads((arguments.bundle / MANIFEST).read_text(encoding="utf-8"))
    names = [name for name in manifest.pop("files") if name != MODEL_CARD]
    files = {name: (arguments.bundle / name).read_bytes() for name in names}
    del manifest["fingerprint"]
    manifest |= {"calibration": None, "metrics": {}}
    schema = AttributeSchema.from_json(manifest["schema"])
    if schema.bit_names != dataset.schema.bit_names:
        raise InputError(f"{arguments.bundle} does not have the schema of {arguments.dataset}")
    with tempfile.TemporaryDirectory() as folder:
        subject = bundle_subject(publish(Path(folder, "bundle"), manifest, files, schema), "cpu")
    manifest["calibration"] = calibrate(
        subject, dataset, held_out, arguments.seed, cache_folder(), Console(stderr=True)
    )
    publish(arguments.bundle, manifest, files, schema)


if __name__ == "__main__":
    main()
