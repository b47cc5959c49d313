"""The gate on a box: fp32 against itself is perfect, a disturbed encoder is caught, the share is computed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sal_export.bundle_writing import write_bundle
from sal_export.gates.on_box import NUM_CROPS, gate_crops_of, judge_on_box
from sal_export.gates.parity import LIMITS, Limits, Parity, missed_limits, share_of_limits
from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.errors import BundleError, InputError, ParityError
from tests.runtime.tiny_bundle import SPEC, make_tiny_bundle

CROPS = np.random.default_rng(3).integers(0, 256, (80, SPEC.height, SPEC.width, 3), dtype=np.uint8)


def with_int8(folder: Path, disturbance: float, name: str = "tiny") -> Bundle:
    """A tiny bundle with a second encoder, called int8, whose weights are disturbed."""
    bundle = make_tiny_bundle(folder, name)
    manifest = json.loads((bundle / "manifest.json").read_text())
    files = {file: (bundle / file).read_bytes() for file in manifest.pop("files")}
    del manifest["fingerprint"]
    model = onnx.load_from_string(files["image_encoder.onnx"])
    weight = next(one for one in model.graph.initializer if len(one.dims) == 2)
    noise = np.random.default_rng(0).standard_normal(tuple(weight.dims)).astype(np.float32)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + disturbance * noise, weight.name))
    files["image_encoder.int8.onnx"] = model.SerializeToString()
    entry = {"role": "image_encoder", "file": "image_encoder.int8.onnx", "precision": "int8", "devices": ["cpu"]}
    entry["parity"] = {"mean_cosine": 0.97}
    entry["calibration"] = {"processor": {"name": "of the export", "int8_instructions": {}}}
    manifest["artefacts"].append(entry)
    return write_bundle(folder, manifest, files)


def test_encoders_are_compared_with_fp32_here_and_shown_beside_the_export(tmp_path: Path) -> None:
    report = judge_on_box(with_int8(tmp_path / "b", 0.02), CROPS, "cpu")
    exact, int8 = report.encoders
    assert report.problems == []
    assert (exact.file, exact.device, exact.missed) == ("image_encoder.onnx", "cpu", ())
    assert exact.parity is not None
    assert exact.parity.max_abs < 1e-6
    assert int8.parity is not None
    assert 0.98 < int8.parity.mean_cosine < 1 - 1e-7
    assert (int8.exported["mean_cosine"], int8.exported_on["name"]) == (0.97, "of the export")
    assert json.loads(json.dumps(report.to_json()))["encoders"][1]["parity"]["num_inputs"] == 80


def test_an_encoder_that_is_another_here_is_a_problem(tmp_path: Path) -> None:
    report = judge_on_box(with_int8(tmp_path / "b", 2.0), CROPS, "cpu")
    assert report.problems
    assert all(line.startswith("image_encoder.int8.onnx on cpu: the ") for line in report.problems)
    assert report.to_json()["ok"] is False
    share = report.encoders[1].share_of_limits
    assert share is not None
    assert share > 1


def test_without_a_right_fp32_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "b")
    manifest = json.loads((bundle / "manifest.json").read_text())
    files = {file: (bundle / file).read_bytes() for file in manifest.pop("files")}
    del manifest["fingerprint"]
    other = make_tiny_bundle(tmp_path / "other", seed=1)
    files["image_encoder.onnx"] = (other / "image_encoder.onnx").read_bytes()
    with pytest.raises(ParityError, match=r"image_encoder\.onnx on cpu does not reproduce the golden embeddings"):
        judge_on_box(write_bundle(bundle, manifest, files), CROPS, "cpu")


def test_a_device_that_the_bundle_has_nothing_for(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "b")
    manifest = json.loads((bundle / "manifest.json").read_text())
    files = {file: (bundle / file).read_bytes() for file in manifest.pop("files")}
    del manifest["fingerprint"]
    for entry in manifest["artefacts"]:
        entry["devices"] = ["cpu"]
    with pytest.raises(BundleError, match="no image_encoder in fp32 for cuda; there is fp32 for cpu"):
        judge_on_box(write_bundle(bundle, manifest, files), CROPS, "cuda")


def test_one_precision_may_be_compared_alone(tmp_path: Path) -> None:
    bundle = with_int8(tmp_path / "b", 0.02)
    assert [one.precision for one in judge_on_box(bundle, CROPS, "cpu", ["int8"]).encoders] == ["int8"]
    with pytest.raises(BundleError, match="no image_encoder in fp16 for cpu; there is fp32"):
        judge_on_box(bundle, CROPS, "cpu", ["int8", "fp16"])


@pytest.mark.parametrize("precision", LIMITS)
def test_the_share_of_the_limits_passes_one_where_a_limit_is_missed(precision: str) -> None:
    limits = LIMITS[precision]  # type: ignore[index]

    def at(share: float) -> Parity:
        def value(limit: float | None) -> float:
            return 1.0 if limit is None else 1.0 - share * (1.0 - limit)

        kept = (limits.min_cosine, limits.p1_cosine, limits.mean_cosine, limits.top10_agreement)
        return Parity((1,), share * (limits.max_abs or 0.0), *map(value, kept), 1, "", "")

    assert isinstance(limits, Limits)
    for share in (0.0, 0.5, 0.99, 1.01, 3.0):
        assert share_of_limits(at(share), precision) == pytest.approx(share)  # type: ignore[arg-type]
        assert bool(missed_limits(at(share), precision)) == (share > 1)  # type: ignore[arg-type]


def test_crops_are_chosen_evenly_from_a_folder(tmp_path: Path) -> None:
    gallery = Path(__file__).parents[3] / "demo" / "gallery"
    bundle = open_bundle(make_tiny_bundle(tmp_path / "b"))
    assert gate_crops_of(bundle, gallery).shape == (NUM_CROPS, SPEC.height, SPEC.width, 3)
    with pytest.raises(InputError, match=r"0 images, the gate needs at least 65 crops"):
        gate_crops_of(bundle, tmp_path)
