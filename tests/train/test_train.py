"""`sal train` as a whole on a tiny data set: it learns, it resumes exactly, it refuses what it should."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from sal_runtime.errors import BackendError, InputError, SalError
from sal_runtime.images.spec import ImageSpec
from sal_runtime.query.schema import AttributeSchema, binary
from sal_train import iteration
from sal_train.checkpoint import (
    CHECKPOINT_FILE,
    CONFIG_FILE,
    MODEL_FILE,
    Position,
    load_run,
    read_position,
    restore_checkpoint,
    save_checkpoint,
)
from sal_train.config import Config
from sal_train.datasets.splits import split_from_rows
from sal_train.evaluation.held_out import validate
from sal_train.images.cache import load_images
from sal_train.networks import Networks
from sal_train.recipe import config_from_tree, config_to_toml, config_to_tree
from sal_train.train import train
from sal_train.training_log import TrainingLog, duration
from tests.train.tiny_training import SCHEMA, tiny_batch, tiny_config, tiny_dataset, tiny_networks

FULL = ("embed_image", "embed_attribute", "synthesis_D", "synthesis_G", "alignment_D", "alignment_E")
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


def full_config(epochs: int = 3, **sections: dict[str, object]) -> Config:
    sections = {"optimiser": {"kind": "adamw", "ema": 0.9}, **sections}
    return tiny_config(FULL, epochs, **sections)


def test_training_learns_to_search(images: Path, tmp_path: Path) -> None:
    """Algorithm 1 on a frozen trunk with published weights: people of the training categories are found."""
    model = {"weights": "imagenet", "feature_norm": "batch", "embedding_output": "batchnorm", "encoders": "linear"}
    tree = config_to_tree(full_config(20, model=model, losses={"label_smoothing": 0.0}))
    stage = tree["stages"][0] | {"learning_rate": 1e-2, "frozen_trunk": True}
    config, dataset = config_from_tree({**tree, "stages": [stage]}), tiny_dataset(images)
    train(config, dataset, tmp_path / "run", tmp_path / "cache")
    pixels = load_images(dataset.train.image_paths, ImageSpec(32, 16), tmp_path / "cache")
    untrained = Networks(config.model, SCHEMA.num_bits, 8)
    rows, vectors = np.arange(len(pixels)), dataset.train.attributes.astype(np.float32)
    assert validate(load_run(tmp_path / "run").networks, dataset.train, vectors, pixels, rows)["validation_mAP"] > 0.95
    assert validate(untrained, dataset.train, vectors, pixels, rows)["validation_mAP"] < 0.6


def test_a_run_records_every_epoch_and_keeps_the_model_of_the_best_validation(images: Path, tmp_path: Path) -> None:
    data: dict[str, object] = {"validation_fraction": 0.25, "validate_every": 1, "batch_size": 8}
    train(full_config(6, data=data), tiny_dataset(images), tmp_path / "run", tmp_path / "cache")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["total_epochs"] for line in lines] == list(range(1, 7))
    run = load_run(tmp_path / "run")
    assert run.provenance["held_out_categories"] == 2
    assert len(run.category_vectors) == 6
    assert not run.networks.training
    best = max(lines, key=lambda line: line["validation_mAP"])  # the first of equals
    assert run.provenance["validation"]["validation_mAP"] == pytest.approx(best["validation_mAP"])
    assert run.provenance["epoch"] == best["total_epochs"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_on_cuda_in_bf16_learns_and_repeats(images: Path, tmp_path: Path) -> None:
    config = full_config(6, run={"device": "cuda", "precision": "bf16"}, losses={"label_smoothing": 0.0})
    for name in ("one", "two"):
        train(config, tiny_dataset(images), tmp_path / name, tmp_path / "cache")
    lines = [json.loads(line) for line in (tmp_path / "one" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["losses"]["image_attribute"] < lines[0]["losses"]["image_attribute"]
    one, two = (load_file(tmp_path / name / MODEL_FILE) for name in ("one", "two"))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_checkpoints_can_be_rarer_but_none_is_missing_at_the_end_or_when_time_is_up(
    images: Path, tmp_path: Path
) -> None:
    dataset, cache = tiny_dataset(images), tmp_path / "cache"
    config = full_config(5, run={"device": "cpu", "checkpoint_every": 4})
    assert not train(config, dataset, tmp_path / "run", cache, deadline=0.0)
    assert read_position(tmp_path / "run" / CHECKPOINT_FILE).total_epochs == 1
    train(config, dataset, tmp_path / "run", cache, resume=True)
    assert read_position(tmp_path / "run" / CHECKPOINT_FILE).total_epochs == 5
    train(config, dataset, tmp_path / "whole", cache)
    resumed, whole = (load_file(tmp_path / name / MODEL_FILE) for name in ("run", "whole"))
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)


def test_a_run_killed_before_its_first_epoch_can_be_resumed(images: Path, tmp_path: Path) -> None:
    config = full_config(1)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / CONFIG_FILE).write_text(config_to_toml(config))  # and nothing else was written
    train(config, tiny_dataset(images), tmp_path / "run", tmp_path / "cache", resume=True)
    assert load_run(tmp_path / "run").provenance["epochs"] == 1


def test_restored_moments_lie_as_their_parameters(tmp_path: Path) -> None:
    config = full_config(1)
    states = []
    for _ in range(2):
        networks = tiny_networks(config)
        for parameter in networks.image_backbone.trunk.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        stage = config.stages[0]
        optimisers = iteration.build_optimisers(networks, iteration.stage_phases(stage), stage, config.optimiser)
        states.append(iteration.TrainState(networks, optimisers, iteration.new_average(networks)))
    before, after = states
    pixels, batch = tiny_batch(config)
    iteration.run_iteration(before, iteration.stage_phases(config.stages[0]), pixels, batch, config)
    save_checkpoint(tmp_path / CHECKPOINT_FILE, before, Position(total_epochs=1))
    restore_checkpoint(tmp_path / CHECKPOINT_FILE, after)
    one, two = (state.optimisers["image_backbone"].state for state in states)
    trunks = (state.networks.image_backbone.trunk.parameters() for state in states)
    kernels = 0
    for parameter, other in zip(*trunks, strict=True):
        assert torch.equal(parameter, other)
        for key in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(one[parameter][key], two[other][key])
            assert two[other][key].stride() == other.stride()
        kernels += not other.is_contiguous()
    assert kernels  # those of 1x1 and of one channel lie the same either way


def test_the_trunk_is_compiled_once_for_training_and_validation(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bf16, the images on the device; batches of validation, which have other sizes, are not compiled.

    What is compiled is found as always, but no machine code is made of it, which takes minutes.
    """
    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compile_module(module, backend="eager"))
    torch._dynamo.utils.counters.clear()
    sections: dict[str, dict[str, object]] = {
        "run": {"device": "cpu", "precision": "bf16", "device_resident": "always", "compile": True},
        "data": {"validation_fraction": 0.25, "validate_every": 1, "batch_size": 8},
        "optimiser": {"kind": "adamw"},
    }
    config = tiny_config(FULL, 2, **sections)
    train(config, tiny_dataset(images), tmp_path / "run", tmp_path / "cache")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert not torch._dynamo.utils.counters["graph_break"]
    assert load_run(tmp_path / "run").provenance["validation"]["validation_mAP"] > 0


def test_resuming_gives_the_weights_of_an_uninterrupted_run(images: Path, tmp_path: Path) -> None:
    """Killed with SIGKILL in the middle of an epoch, then resumed where PyTorch has another number of threads."""
    threads = torch.get_num_threads()
    dataset = tiny_dataset(images)
    config = full_config(4)
    train(config, dataset, tmp_path / "whole", tmp_path / "cache")
    program = textwrap.dedent(f"""
        import os, signal, sys
        from pathlib import Path
        import torch
        from sal_train import iteration
        from sal_train.train import train
        from tests.train.test_train import full_config
        from tests.train.tiny_training import tiny_dataset
        torch.set_num_threads({threads})
        run_iteration, done = iteration.run_iteration, []
        def dying(*arguments):
            done.append(1)
            if len(done) == 13:  # the third iteration of epoch 3
                os.kill(os.getpid(), signal.SIGKILL)
            return run_iteration(*arguments)
        iteration.run_iteration = dying
        train(full_config(4), tiny_dataset(Path({str(images)!r})), Path({str(tmp_path / "killed")!r}),
              Path({str(tmp_path / "cache")!r}))
    """)
    killed = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    torch.set_num_threads(3 - threads if threads < 3 else 1)
    try:
        train(config, dataset, tmp_path / "killed", tmp_path / "cache", resume=True)
        assert torch.get_num_threads() != threads  # the caller's stays
    finally:
        torch.set_num_threads(threads)
    for name in (MODEL_FILE, CHECKPOINT_FILE):
        whole, resumed = load_file(tmp_path / "whole" / name), load_file(tmp_path / "killed" / name)
        assert set(whole) == set(resumed)
        assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    lines = (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["total_epochs"] for line in lines] == [1, 2, 3, 4]


def test_two_processes_hold_equal_weights(images: Path, tmp_path: Path) -> None:
    """Under torchrun: gradients are averaged, so both end with the same parameters, and one of them writes."""
    program = tmp_path / "two.py"
    program.write_text(
        textwrap.dedent(f"""
        import hashlib, sys
        from pathlib import Path
        sys.path.insert(0, {str(REPOSITORY)!r})
        import torch
        from sal_train import distributed
        from sal_train import iteration
        from sal_train.train import train
        from tests.train.test_train import full_config
        from tests.train.tiny_training import tiny_dataset
        run_iteration, states = iteration.run_iteration, []
        def watching(state, *arguments):
            terms = run_iteration(state, *arguments)
            flat = torch.cat([p.detach().flatten() for p in state.networks.parameters()])
            states.append((distributed.rank(), hashlib.sha256(flat.numpy().tobytes()).hexdigest()))
            return terms
        iteration.run_iteration = watching
        train(full_config(1), tiny_dataset(Path({str(images)!r})), Path({str(tmp_path / "run")!r}),
              Path({str(tmp_path / "cache")!r}))
        Path({str(tmp_path)!r}, f"rank{{states[0][0]}}").write_text(" ".join(digest for _, digest in states))
    """),
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", str(program)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    first, second = ((tmp_path / f"rank{rank}").read_text().split() for rank in (0, 1))
    assert first == second
    assert len(first) == 5
    assert load_run(tmp_path / "run").provenance["processes"] == 2


def test_a_run_is_not_overwritten_and_resume_needs_one(images: Path, tmp_path: Path) -> None:
    dataset, config = tiny_dataset(images), tiny_config(("embed_image", "embed_attribute"), 1)
    with pytest.raises(InputError, match="holds no run to resume") as none_there:
        train(config, dataset, tmp_path / "run", tmp_path / "cache", resume=True)
    train(config, dataset, tmp_path / "run", tmp_path / "cache")
    with pytest.raises(InputError, match="already holds a run") as another_there:
        train(config, dataset, tmp_path / "run", tmp_path / "cache")
    with pytest.raises(InputError, match="the recipe differs") as other_recipe:
        train(tiny_config(("embed_image",), 1), dataset, tmp_path / "run", tmp_path / "cache", resume=True)
    errors = [caught.value for caught in (none_there, another_there, other_recipe)]
    assert [error.parameter for error in errors] == ["resume", "out", "recipe"]


def test_a_run_does_not_go_on_with_another_table(images: Path, tmp_path: Path) -> None:
    dataset, config = tiny_dataset(images), tiny_config(("embed_image", "embed_attribute"), 2)
    train(config, dataset, tmp_path / "run", tmp_path / "cache", deadline=0.0)
    before = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
    fewer = split_from_rows(
        list(dataset.train.image_paths[:-1]), dataset.train.attributes[:-1], list(dataset.train.identities[:-1])
    )
    other_words = AttributeSchema("tiny", (binary("cap", 0), *dataset.schema.groups[1:]))
    flipped = replace(dataset.train, attributes=dataset.train.attributes[::-1].copy())
    for changed, what in (
        (replace(dataset, train=fewer), "training images"),
        (replace(dataset, schema=other_words), "attributes"),
        (replace(dataset, train=flipped), "training categories"),
    ):
        with pytest.raises(InputError, match=f"the {what} of tiny are not those with which .*run began"):
            train(config, changed, tmp_path / "run", tmp_path / "cache", resume=True)
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == before
    assert train(config, dataset, tmp_path / "run", tmp_path / "cache", resume=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="tests the refusal on machines without CUDA")
def test_cuda_is_refused_where_there_is_none(images: Path, tmp_path: Path) -> None:
    config = tiny_config(("embed_image",), 1, run={"device": "cuda"})
    with pytest.raises(BackendError, match="finds no CUDA device"):
        train(config, tiny_dataset(images), tmp_path / "run", tmp_path / "cache")


def test_what_is_refused_leaves_no_run_and_the_mended_command_trains(images: Path, tmp_path: Path) -> None:
    dataset, phases = tiny_dataset(images), ("embed_image", "embed_attribute")
    missing = replace(dataset.train, image_paths=(images / "no.jpg", *dataset.train.image_paths[1:]))
    refusals = (
        (tiny_config(phases, 1, data={"batch_size": 1000}), dataset, r"fewer than data\.batch_size"),
        (tiny_config(phases, 1), replace(dataset, train=missing), r"no\.jpg"),
        (tiny_config(("embed_image", "no-phase"), 1), dataset, "known phases"),
        (tiny_config(phases, 1, run={"teacher": str(tmp_path)}), dataset, tmp_path.name),
        (tiny_config(phases, 1, run={"device": "toaster"}), dataset, "run.device is 'toaster'"),
    )
    for config, data, message in refusals:
        with pytest.raises(SalError, match=message):
            train(config, data, tmp_path / "run", tmp_path / "cache")
        assert not (tmp_path / "run").exists()
    with pytest.raises(SalError):
        train(refusals[2][0], dataset, tmp_path / "runs" / "of" / "mine", tmp_path / "cache")
    assert not (tmp_path / "runs").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("kept")
    with pytest.raises(SalError):
        train(refusals[2][0], dataset, tmp_path / "run", tmp_path / "cache")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]
    assert train(tiny_config(phases, 1), dataset, tmp_path / "run", tmp_path / "cache")


def test_what_was_interrupted_is_kept_only_with_a_checkpoint(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, config = tiny_dataset(images), tiny_config(("embed_image", "embed_attribute"), 3)
    run_iteration, count, last = iteration.run_iteration, 0, 0

    def stopped(*arguments: object) -> dict[str, torch.Tensor]:
        nonlocal count
        count += 1
        if count == last:
            raise KeyboardInterrupt
        return run_iteration(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(iteration, "run_iteration", stopped)
    for number, is_kept in ((2, False), (8, True)):  # five iterations an epoch
        count, last = 0, number
        with pytest.raises(KeyboardInterrupt):
            train(config, dataset, tmp_path / "run", tmp_path / "cache")
        assert (tmp_path / "run").exists() == is_kept
    assert train(config, dataset, tmp_path / "run", tmp_path / "cache", resume=True)


def test_a_run_of_another_process_is_never_removed(images: Path, tmp_path: Path) -> None:
    config = tiny_config(("embed_image",), 1)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / CONFIG_FILE).write_text(config_to_toml(config))  # it has no checkpoint yet
    with pytest.raises(InputError, match="already holds a run"):
        train(config, tiny_dataset(images), tmp_path / "run", tmp_path / "cache")
    assert (tmp_path / "run" / CONFIG_FILE).exists()
    with pytest.raises(InputError, match="is not a folder"):
        train(config, tiny_dataset(images), tmp_path / "run" / CONFIG_FILE, tmp_path / "cache")


def test_the_log_says_what_is_wrong_with_the_data_and_how_long_it_takes(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, config = tiny_dataset(images), tiny_config(("embed_image", "embed_attribute"), 2)
    people = tuple("anna" if row == 3 else "" for row in range(40))
    train_split, test = replace(dataset.train, identities=people), replace(dataset.test, identities=people[:20])
    dataset = replace(dataset, train=train_split, test=test, notes=("cells were odd",))
    train(config, dataset, tmp_path / "run", tmp_path / "cache")
    said = capsys.readouterr().err
    assert "note: cells were odd" in said
    assert "warning: 1 people are in training and test alike, such as 'anna'" in said
    assert "40 training images in 8 categories; 2 epochs of 5 iterations" in said
    assert re.search(r"1/2  loss .* s, about \d+ s to go", said)
    assert "to go" not in said.splitlines()[-1]


@pytest.mark.parametrize(
    ("precision", "capabilities", "warns"),
    [
        ("bf16", {"avx2": True, "avx512_bf16": False, "l2_cache_size": 524288}, True),
        ("bf16", {"avx2": True, "avx512_bf16": True}, False),
        ("bf16", {"neon": True, "bf16": True}, False),
        ("fp32", {}, False),
    ],
)
def test_the_log_warns_of_bfloat16_on_a_cpu_that_emulates_it(
    precision: str,
    capabilities: dict[str, object],
    warns: bool,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    config = full_config(0, run={"precision": precision})
    train(config, tiny_dataset(images), tmp_path / "run", tmp_path / "cache")
    assert ("warning: this CPU has no instructions for bfloat16" in capsys.readouterr().err) == warns


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (100, "2 min"), (5340, "89 min"), (12000, "3 h 20 min")]
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_time_of_a_run_is_estimated_before_its_first_epoch_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr("sal_train.training_log.time.monotonic", lambda: next(clock))
    said = io.StringIO()
    log = TrainingLog(tmp_path, tiny_config(("embed_image",), 2), 0, Console(file=said, width=80), active=True)
    for number in range(100):
        log.iteration(number, 100)
    assert said.getvalue().count("to go") == 1


def test_a_batch_larger_than_the_data_is_an_error(images: Path, tmp_path: Path) -> None:
    config = tiny_config(("embed_image",), 1, data={"batch_size": 1000})
    with pytest.raises(InputError, match=r"fewer than data\.batch_size"):
        train(config, tiny_dataset(images), tmp_path / "run", tmp_path / "cache")
