"""The whole way on drawn pedestrians: draw, train, export, evaluate, search; and what goes wrong on it."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sal_export import package
from sal_export.gates import parity
from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.doctor.machine import cpu_name, int8_instructions
from sal_runtime.encoding.encoders import AttributeEncoder, ImageEncoder
from sal_train.checkpoint import load_run
from tests.command_line import check_one_error, run_sal

Capsys = pytest.CaptureFixture[str]


@dataclass(frozen=True)
class World:
    """What the first commands made."""

    data: Path
    run: Path
    bundle: Path
    cache: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Drawn people, a model trained on them for a few epochs, and its bundle."""
    folder = tmp_path_factory.mktemp("world")
    made = World(folder / "drawn", folder / "run", folder / "bundle", folder / "cache")
    commands = (
        ("data", "synth", "--out", made.data, "--people", 150),
        (
            *("train", "--recipe", "tiny", "--dataset", made.data, "--out", made.run, "--cache", made.cache),
            *("--device", "cpu", "--set", "data.validation_fraction=0.1"),
        ),
        ("export", "--run", made.run, "--out", made.bundle, "--dataset", made.data, "--cache", made.cache),
    )
    from sal_cli import app as cli

    for command in commands:
        with pytest.raises(SystemExit) as ended:
            cli.main([str(word) for word in command])
        assert not ended.value.code, command
    return made


def evaluate(capsys: Capsys, world: World, *arguments: object) -> dict[str, object]:
    command = ("eval", "--dataset", world.data, "--cache", world.cache, "--json", *arguments)
    code, out, _ = run_sal(capsys, *command)
    assert code == 0
    return json.loads(out)


def test_the_run_directory_says_how_it_was_made(world: World) -> None:
    names = {path.name for path in world.run.iterdir()}
    assert names >= {"config.toml", "data.json", "metrics.jsonl", "model.safetensors", "checkpoint.safetensors"}
    assert "the first hit is right for" in (world.run / "report.html").read_text()
    assert len((world.run / "metrics.jsonl").read_text().splitlines()) == 8
    assert list((world.run / "tensorboard").iterdir())


def test_the_bundle_gives_what_the_run_gives(world: World, capsys: Capsys) -> None:
    """The exported encoders rank as PyTorch does, and far better than chance."""
    bundle = evaluate(capsys, world, "--bundle", world.bundle)
    run = evaluate(capsys, world, "--run", world.run)
    for key in ("mAP", "rank1", "rank5", "rank10"):
        assert bundle[key] == pytest.approx(run[key], abs=0.02)
    assert bundle["recognition"]["mA"] == pytest.approx(run["recognition"]["mA"], abs=0.005)
    chance = bundle["partial"]["by_number_given"][-1]["share_relevant"]
    assert bundle["mAP"] > 5 * chance
    assert bundle["recognition"]["mA"] > 0.55  # 0.5 is guessing


def test_the_bundle_is_complete_and_its_golden_vectors_hold(world: World) -> None:
    bundle = open_bundle(world.bundle)
    run = load_run(world.run)
    assert bundle.schema == run.schema
    assert bundle.manifest["training"]["dataset"] == "drawn"
    assert bundle.calibration is not None
    for artefact in bundle.manifest["artefacts"]:
        assert artefact["parity"]["batches"] == [1, 2, 3, 17, 64, 65]
        assert artefact["parity"]["max_abs"] < 1e-4
    golden = bundle.golden
    np.testing.assert_allclose(
        ImageEncoder(bundle).encode(golden["images"]), golden["image_embeddings"], rtol=0, atol=1e-5
    )
    np.testing.assert_allclose(
        AttributeEncoder(bundle).encode(golden["attributes"]), golden["attribute_embeddings"], rtol=0, atol=1e-5
    )


def test_search_finds_what_was_drawn(world: World, capsys: Capsys) -> None:
    command = ("search", "--bundle", world.bundle, "--gallery", world.data / "images", "--json", "-k", 20)
    code, out, _ = run_sal(capsys, *command, "--attrs", "upper=red|yellow,trousers")
    assert code == 0
    answer = json.loads(out)
    assert answer["gallery"] == {
        "path": str(world.data / "images.sal"),
        "items": 600,
        "encoded_now": 600,
    }
    with (world.data / "attributes.csv").open() as file:
        labels = {Path(row["image"]).name: row for row in csv.DictReader(file)}
    wanted = {
        name
        for name, row in labels.items()
        if row["upper-colour"] in ("red", "yellow") and row["lower-type"] == "trousers"
    }
    right = sum(hit["uri"] in wanted for hit in answer["hits"])
    assert right / 20 > 2 * len(wanted) / len(labels)
    assert all(0 <= hit["likelihood"] <= 1 for hit in answer["hits"])
    # nothing is encoded twice
    code, out, _ = run_sal(capsys, *command, "--attrs", "hat")
    assert json.loads(out)["gallery"]["encoded_now"] == 0


def test_attached_numbers_stand_in_the_model_card(world: World, capsys: Capsys) -> None:
    before = open_bundle(world.bundle).fingerprint
    report = evaluate(capsys, world, "--bundle", world.bundle, "--no-partial", "--attach")
    bundle = open_bundle(world.bundle)
    assert bundle.fingerprint == before
    assert bundle.manifest["metrics"]["mAP"] == report["mAP"]
    card = (world.bundle / "MODEL_CARD.md").read_text()
    assert f"{100 * report['mAP']:.1f}" in card
    assert f"{report['recognition']['by_attribute']['hat']['positives']}" in card
    assert "must not be used" in card


def test_a_bundle_exported_without_data_has_no_likelihood(world: World, tmp_path: Path, capsys: Capsys) -> None:
    code, out, _ = run_sal(capsys, "export", "--run", world.run, "--out", tmp_path / "bare", "--name", "bare")
    assert (code, out) == (0, f"{tmp_path / 'bare'}\n")
    bundle = open_bundle(tmp_path / "bare")
    assert bundle.name == "bare"
    assert bundle.calibration is None


def test_a_failed_gate_publishes_nothing(
    world: World, tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in world.bundle.iterdir()}
    monkeypatch.setattr(package, "missed_limits", lambda *_: ("the smallest cosine is 0.9",))
    for out in (world.bundle, tmp_path / "new"):
        check = run_sal(capsys, "export", "--run", world.run, "--out", out)
        assert check[0] == 1
        assert "attribute_encoder.onnx differs from PyTorch: the smallest cosine is 0.9" in check[2]
    assert not (tmp_path / "new").exists()
    assert {path.name: path.read_bytes() for path in world.bundle.iterdir()} == before


@pytest.mark.slow
def test_a_refused_precision_is_left_out_only_if_asked(
    world: World, tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "half.bundle"
    command = ("export", "--run", world.run, "--out", out, "--dataset", world.data, "--cache", world.cache)
    monkeypatch.setitem(parity.LIMITS, "fp16", parity.Limits(None, 1.1, 0.9, 0.9, 0.5))
    code, printed, err = run_sal(capsys, *command, "--precision", "fp16")
    assert (code, printed) == (1, "")
    assert re.search(r"verdict +passed +refused", err)  # the table, and the reason in words
    error = err.strip().splitlines()[-1]
    assert error.startswith(
        "sal: error: the gate refuses fp16, and nothing has been written. fp16: the smallest cosine"
    )
    assert error.endswith("Export without fp16, or publish what passed: fp32 (--publish-passed)")
    assert not out.exists()

    code, printed, err = run_sal(capsys, *command, "--precision", "fp16", "--publish-passed")
    assert (code, printed) == (1, f"{out}\n")
    assert "fp16 is refused: the smallest cosine" in err
    bundle = open_bundle(out)
    assert bundle.name == "half"
    assert [artefact.precision for artefact in bundle.artefacts] == ["fp32", "fp32"]
    (refused,) = bundle.manifest["refused"]
    assert (refused["precision"], len(refused["refusals"])) == ("fp16", 1)
    assert refused["metrics"]["num_queries"] == len(refused["metrics"]["average_precisions"])
    assert (
        "fp16 for cpu/cuda/trt is not in this bundle; the gate refused it: the smallest cosine"
        in (out / "MODEL_CARD.md").read_text()
    )


@pytest.mark.slow
def test_small_data_passes_the_gate_in_every_precision(
    world: World, tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """41 drawn queries: one first hit is 2.4 points."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX builds engines without a GPU: pip install tensorrt-rtx")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = tmp_path / "bundle"
    command = ("export", "--run", world.run, "--out", out, "--dataset", world.data, "--cache", world.cache)
    wanted = ("--precision", "fp16", "--precision", "int8", "--trt", "int8", "--compute-capability", "8.9")
    code, printed, err = run_sal(capsys, *command, *wanted)
    assert code == 0, err
    bundle = open_bundle(out)
    assert bundle.fingerprint == open_bundle(world.bundle).fingerprint
    images = [artefact for artefact in bundle.artefacts if artefact.role == "image_encoder"]
    assert [(artefact.precision, artefact.devices) for artefact in images] == [
        ("fp32", ("cpu", "cuda", "trt")),
        ("fp16", ("cpu", "cuda", "trt")),
        ("int8", ("cpu", "cuda")),
        ("int8", ("trt",)),
    ]
    for artefact in images[1:]:
        assert artefact.size < 0.6 * images[0].size
        assert artefact.parity["source"] == "image_encoder.onnx"
        assert artefact.metrics["num_queries"] == images[0].metrics["num_queries"] > 20
    assert bundle.manifest["refused"] == []
    calibration = bundle.manifest["artefacts"][3]["calibration"]
    assert calibration["processor"] == {"name": cpu_name(), "int8_instructions": int8_instructions()}
    cosines = calibration["mean_cosine_by_method"]
    assert set(cosines) == {"minmax", "percentile", "entropy", "mse"}
    assert cosines[calibration["method"]] == max(cosines.values())
    check_encoders_added(capsys, world, out, tmp_path / "added")
    report = evaluate(capsys, world, "--bundle", out, "--no-partial", "--precision", "int8")
    assert report["mAP"] == pytest.approx(images[2].metrics["mAP"], abs=1e-6)
    # the engine lies in the store, and its line says what was proven
    (plan,) = (tmp_path / "cache").rglob("engine.plan")
    assert str(plan) in printed
    assert "int8" in printed
    assert "compute capability 8.9" in printed
    code, again, _ = run_sal(
        capsys, "bundle", "engine", "--bundle", out, "--precision", "int8", "--compute-capability", "8.9", "--json"
    )
    assert code == 0
    assert [engine["path"] for engine in json.loads(again)["engines"]] == [str(plan)]


def check_encoders_added(capsys: Capsys, world: World, exported: Path, out: Path) -> None:
    """A bundle without a run gets the encoders that an export of the run makes, and keeps all else."""
    command = ("export", "--bundle", world.bundle, "--out", out, "--dataset", world.data, "--cache", world.cache)
    code, printed, err = run_sal(capsys, *command, "--precision", "fp16", "--precision", "int8-trt")
    assert (code, printed) == (0, f"{out}\n"), err
    wanted, before, added = (open_bundle(path) for path in (exported, world.bundle, out))
    assert (added.name, added.fingerprint) == (before.name, before.fingerprint)
    for key in ("calibration", "metrics", "training"):
        assert added.manifest[key] == before.manifest[key]
    assert [artefact.file for artefact in added.artefacts] == [
        *(artefact.file for artefact in before.artefacts),
        "image_encoder.fp16.onnx",
        "image_encoder.int8.trt.onnx",
    ]
    for file in ("image_encoder.fp16.onnx", "image_encoder.int8.trt.onnx"):
        assert added.read_bytes(file) == wanted.read_bytes(file)
        entries = [entry for entry in wanted.manifest["artefacts"] if entry["file"] == file]
        assert [entry for entry in added.manifest["artefacts"] if entry["file"] == file] == entries


def test_a_bundle_gets_only_encoders_that_the_gate_can_judge(world: World, tmp_path: Path, capsys: Capsys) -> None:
    export = ("export", "--out", tmp_path / "b")
    check_one_error(run_sal(capsys, *export), 2, "--run", "--bundle")
    check_one_error(run_sal(capsys, *export, "--run", world.run, "--bundle", world.bundle), 2, "name what to export")
    add = (*export, "--bundle", world.bundle)
    check_one_error(run_sal(capsys, *add, "--precision", "fp16"), 2, "--precision and --dataset")
    check_one_error(run_sal(capsys, *add, "--dataset", world.data), 2, "--precision and --dataset")
    check_one_error(run_sal(capsys, *add, "--name", "other"), 2, "a bundle keeps its name")
    assert not (tmp_path / "b").exists()


def test_what_cannot_be_written_is_refused_before_the_work(
    world: World, tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "gate_inputs", None)  # the work begins with these
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "0001.jpg").write_bytes(b"")
    refused = (("photos", "is not a bundle"), ("photos/0001.jpg", "is a file"), ("photos/0001.jpg/b", "cannot"))
    for out, words in refused:
        done = run_sal(capsys, "export", "--run", world.run, "--out", tmp_path / out)
        check_one_error(done, 2, words)
        assert "(--out)" in done[2]


def test_reduced_precision_needs_the_data(world: World, tmp_path: Path, capsys: Capsys) -> None:
    done = run_sal(capsys, "export", "--run", world.run, "--out", tmp_path / "b", "--precision", "int8")
    check_one_error(done, 2, "precision int8 needs the data set")
    assert not (tmp_path / "b").exists()


def test_errors_are_one_line(world: World, tmp_path: Path, capsys: Capsys) -> None:
    train = ("train", "--dataset", world.data, "--cache", world.cache, "--recipe")
    check_one_error(run_sal(capsys, *train, "tiny", "--out", tmp_path / "r", "--set", "stages.0.epoch=2"), 2, "epoch")
    check_one_error(run_sal(capsys, *train, "best", "--out", tmp_path / "r"), 2, "best")
    code, _, err = run_sal(capsys, *train, "tiny", "--out", world.run)
    assert code == 2
    assert "already holds a run" in err
    code, _, err = run_sal(capsys, *train, "tiny", "--out", tmp_path / "r", "--resume")
    assert code == 2
    assert "holds no run" in err
    score = ("eval", "--dataset", world.data, "--cache", world.cache)
    check_one_error(run_sal(capsys, *score), 2, "neither of bundle and run")
    check_one_error(run_sal(capsys, *score, "--run", world.run, "--no-partial", "--attach"), 2, "--bundle")
    check_one_error(run_sal(capsys, *score, "--bundle", world.bundle, "--held-out"), 2, "measure the run")
    check_one_error(run_sal(capsys, *score, "--bundle", tmp_path), 2, "manifest.json")
    check_one_error(run_sal(capsys, "export", "--run", tmp_path, "--out", tmp_path / "b"), 2, "config.toml")


def test_a_dry_run_prints_a_recipe_that_can_be_used(world: World, tmp_path: Path, capsys: Capsys) -> None:
    train = ("train", "--dataset", world.data, "--out", tmp_path / "r", "--dry-run")
    code, out, _ = run_sal(capsys, *train, "--recipe", "paper", "--set", "run.seed=7")
    assert code == 0
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(out)
    assert run_sal(capsys, *train, "--recipe", recipe) == (0, out, "")
    assert not (tmp_path / "r").exists()
