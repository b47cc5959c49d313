"""Stages with a frozen trunk, and runs that start from another one."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from sal_runtime.arrays import UInt8Array
from sal_runtime.errors import InputError
from sal_runtime.images.spec import ImageSpec
from sal_train.checkpoint import CHECKPOINT_FILE, METRICS_FILE, MODEL_FILE, load_run
from sal_train.config import Config
from sal_train.frozen_trunk import pool_blocks, pool_images, run_frozen_blocks
from sal_train.images.cache import load_images
from sal_train.networks import ImageBackbone, Networks
from sal_train.recipe import config_from_tree, config_to_tree
from sal_train.train import train
from tests.train.tiny_training import SCHEMA, tiny_config, tiny_dataset

JOINT = ("embed_image", "embed_attribute")


def frozen_config(epochs: int, start_from: Path | None = None, **model: object) -> Config:
    stage = {"phases": list(JOINT), "epochs": epochs, "learning_rate": 1e-2, "frozen_trunk": True}
    config = tiny_config(JOINT, model=dict(model), run={"start_from": str(start_from or "")})
    return config_from_tree({**config_to_tree(config), "stages": [stage]})


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


def fresh_backbone(pixels: UInt8Array, **model: object) -> ImageBackbone:
    """Random weights, and the statistics of the images, without which its outputs would be close to zero."""
    backbone = Networks(tiny_config(JOINT, model=model).model, SCHEMA.num_bits, 5).image_backbone
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        backbone.pool(torch.tensor(pixels))
    return backbone


def test_pooled_is_what_the_trunk_gives_for_the_image_and_its_mirror(images: Path, tmp_path: Path) -> None:
    dataset = tiny_dataset(images)
    pixels = load_images(dataset.train.image_paths, ImageSpec(32, 16), tmp_path)
    backbone = fresh_backbone(pixels)
    rows = np.array([7, 2, 30])
    pooled = pool_images(backbone, pixels, rows, tmp_path, Console(stderr=True))
    assert pooled.shape == (40, 2, 1280)
    assert backbone.training
    backbone.eval()
    with torch.no_grad():
        for row in rows:
            image = torch.tensor(pixels[row])
            direct = torch.cat([backbone.pool(side[None]) for side in (image, image.flip(1))])
            torch.testing.assert_close(pooled[row], direct, rtol=1e-4, atol=1e-4)
    assert not pooled[[0, 1, 3]].any()


def test_one_side_is_pooled_alone_and_kept_apart(images: Path, tmp_path: Path) -> None:
    pixels = load_images(tiny_dataset(images).train.image_paths, ImageSpec(32, 16), tmp_path)
    backbone = fresh_backbone(pixels)
    rows, console = np.arange(6), Console(stderr=True)
    both = pool_images(backbone, pixels, rows, tmp_path, console)
    for side in (0, 1):
        alone = pool_images(backbone, pixels, rows, tmp_path, console, (bool(side),))
        assert alone.shape == (40, 1, 1280)
        torch.testing.assert_close(alone[:, 0], both[:, side], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(both[:6, 0], both[:6, 1])


def test_other_pooling_of_the_same_weights_is_computed_anew(images: Path, tmp_path: Path) -> None:
    pixels = load_images(tiny_dataset(images).train.image_paths, ImageSpec(64, 32), tmp_path)
    rows, console = np.arange(3), Console(stderr=True)
    plain = fresh_backbone(pixels)
    whole = pool_images(plain, pixels, rows, tmp_path, console)
    for changed in ({"stripes": 2}, {"last_stride": 1}):
        other = Networks(tiny_config(JOINT, model=changed).model, SCHEMA.num_bits, 5).image_backbone
        other.trunk.load_state_dict(plain.trunk.state_dict())
        other.eval()
        with torch.no_grad():
            direct = other.pool(torch.tensor(pixels[:3]))
        assert not torch.equal(direct[:, -1280:], whole[:3, 0])
        torch.testing.assert_close(pool_images(other, pixels, rows, tmp_path, console)[:3, 0], direct)


def test_pooled_is_kept_for_the_same_weights_and_pixels_only(images: Path, tmp_path: Path) -> None:
    dataset, rows, console = tiny_dataset(images), np.arange(3), Console(stderr=True)
    pixels = np.array(load_images(dataset.train.image_paths, ImageSpec(32, 16), tmp_path / "decoded"))
    backbone = Networks(tiny_config(JOINT).model, SCHEMA.num_bits, 5).image_backbone
    pooled = pool_images(backbone, pixels, rows, tmp_path / "cache", console)
    (kept,) = (tmp_path / "cache").iterdir()
    np.save(kept, 2.0 * pooled[rows].numpy())
    assert torch.equal(pool_images(backbone, pixels, rows, tmp_path / "cache", console), 2.0 * pooled)
    pixels[1, 0, 0, 0] += 1
    pool_images(backbone, pixels, rows, tmp_path / "cache", console)
    with torch.no_grad():
        next(backbone.trunk.parameters()).add_(1.0)
    pool_images(backbone, pixels, rows, tmp_path / "cache", console)
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_pooled_is_kept_for_the_same_stripes_and_strides_only(images: Path, tmp_path: Path) -> None:
    dataset, console = tiny_dataset(images), Console(stderr=True)
    pixels = load_images(dataset.train.image_paths, ImageSpec(64, 32), tmp_path)
    shapes = []
    for model in ({}, {"stripes": 2}, {"last_stride": 1, "stripes": 2}):
        torch.manual_seed(1)  # the same weights
        backbone = fresh_backbone(pixels, **model)
        pooled = pool_images(backbone, pixels, np.arange(40), tmp_path, console)
        shapes.append(tuple(pooled.shape))
        with torch.no_grad():
            direct = backbone.eval().pool(torch.tensor(pixels[:2]))
        torch.testing.assert_close(pooled[:2, 0], direct, rtol=1e-4, atol=1e-4)
    assert shapes == [(40, 2, 1280), (40, 2, 3840), (40, 2, 3840)]


def test_pooled_of_mapped_images_is_found_without_reading_a_pixel(images: Path, tmp_path: Path) -> None:
    dataset, rows, console = tiny_dataset(images), np.arange(40), Console(stderr=True)
    pixels = load_images(dataset.train.image_paths, ImageSpec(32, 16), tmp_path)
    backbone = Networks(tiny_config(JOINT).model, SCHEMA.num_bits, 5).image_backbone
    pooled = pool_images(backbone, pixels, rows, tmp_path, console)
    (file,) = tmp_path.glob("images-*.npy")
    np.save(file, np.zeros_like(pixels))
    changed = load_images(dataset.train.image_paths, ImageSpec(32, 16), tmp_path)
    assert not changed.any()
    assert torch.equal(pool_images(backbone, changed, rows, tmp_path, console), pooled)
    pooled.zero_()  # a reader's own copy, not the file
    assert pool_images(backbone, changed, rows, tmp_path, console).any()


def test_a_frozen_trunk_stays_and_the_rest_learns(images: Path, tmp_path: Path) -> None:
    dataset = tiny_dataset(images)
    assert train(tiny_config(JOINT, 1), dataset, tmp_path / "base", tmp_path / "cache")
    config = frozen_config(3, tmp_path / "base")
    assert train(config, dataset, tmp_path / "run", tmp_path / "cache")
    before, after = (load_file(tmp_path / name / MODEL_FILE) for name in ("base", "run"))
    for name in before:
        if name.startswith("image_backbone.trunk."):
            assert torch.equal(before[name], after[name]), name
    for name in ("image_backbone.fc.weight", "E_V.0.weight", "E_A.0.weight", "C_att.weight"):
        assert not torch.equal(before[name], after[name]), name
    assert load_run(tmp_path / "run").provenance["start_from"] == "base"


@pytest.mark.parametrize(("frozen", "blocks"), [({"frozen_trunk": True}, 18), ({"frozen_blocks": 6}, 6)])
def test_what_a_stage_freezes_is_what_will_be_deployed(
    images: Path, tmp_path: Path, frozen: dict[str, object], blocks: int
) -> None:
    """Of a trunk that an earlier stage trained, the moving average is deployed; the rest has to learn on its output."""
    tree = config_to_tree(tiny_config(JOINT, 2, optimiser={"ema": 0.9}))
    stage = {"phases": list(JOINT), "epochs": 1, "learning_rate": 1e-2, **frozen}
    config = config_from_tree({**tree, "stages": [*tree["stages"], stage]})  # type: ignore[misc]
    assert train(config, tiny_dataset(images), tmp_path / "run", tmp_path / "cache")
    tensors = load_file(tmp_path / "run" / CHECKPOINT_FILE)
    trunks = []
    for kept in ("networks/", "average/"):
        backbone = Networks(config.model, SCHEMA.num_bits, 5).image_backbone
        start = f"{kept}image_backbone."
        own = [name for name in tensors if name.startswith(start)]
        backbone.load_state_dict({name.removeprefix(start): tensors[name] for name in own})
        trunks.append([block.state_dict() for block in backbone.trunk.sequence()])
    assert len(trunks[0]) == 18
    for number, (trained, deployed) in enumerate(zip(*trunks, strict=True)):
        same = all(torch.equal(trained[name], deployed[name]) for name in trained)
        assert same == (number < blocks), number


def test_a_stage_without_epochs_does_not_bring_the_images_back(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The linear query is fitted after the last stage. To run the trunk on all images for it would take minutes."""
    tree = config_to_tree(frozen_config(1, linear_query=True, encoders="linear", embedding_output="batchnorm"))
    empty = {"phases": list(JOINT), "epochs": 0, "learning_rate": 1e-2}
    config = config_from_tree({**tree, "stages": [*tree["stages"], empty]})  # type: ignore[misc]
    ranks: list[int] = []

    def pooled(backbone: ImageBackbone, inputs: torch.Tensor) -> torch.Tensor:
        ranks.append(inputs.ndim)
        return original(backbone, inputs)

    original = ImageBackbone.pooled
    monkeypatch.setattr(ImageBackbone, "pooled", pooled)
    assert train(config, tiny_dataset(images), tmp_path / "run", tmp_path / "cache")
    assert set(ranks) == {2}


def test_a_run_starts_only_from_one_of_the_same_networks(images: Path, tmp_path: Path) -> None:
    dataset = tiny_dataset(images)
    train(tiny_config(JOINT, 1), dataset, tmp_path / "base", tmp_path / "cache")
    with pytest.raises(InputError, match="has other networks"):
        train(frozen_config(1, tmp_path / "base", feature_dim=16), dataset, tmp_path / "run", tmp_path / "cache")
    held_out = tiny_config(JOINT, 1, data={"validation_fraction": 0.25}, run={"start_from": str(tmp_path / "base")})
    with pytest.raises(InputError, match="has other training categories"):
        train(held_out, dataset, tmp_path / "other", tmp_path / "cache")


def test_a_run_stopped_by_its_deadline_is_continued_exactly(images: Path, tmp_path: Path) -> None:
    """After an epoch of an ordinary stage or of a frozen one."""
    dataset, tree = tiny_dataset(images), config_to_tree(tiny_config(JOINT, 2))
    frozen = {"phases": list(JOINT), "epochs": 2, "learning_rate": 1e-2, "frozen_trunk": True}
    config = config_from_tree({**tree, "stages": [*tree["stages"], frozen]})  # type: ignore[misc]
    assert train(config, dataset, tmp_path / "whole", tmp_path / "cache")
    finished = [train(config, dataset, tmp_path / "run", tmp_path / "cache", deadline=time.monotonic())]
    while not finished[-1]:
        finished.append(
            train(config, dataset, tmp_path / "run", tmp_path / "cache", resume=True, deadline=time.monotonic())
        )
    assert finished == [False, False, False, True]
    whole, run = (load_file(tmp_path / name / MODEL_FILE) for name in ("whole", "run"))
    assert all(torch.equal(whole[name], run[name]) for name in whole)


def test_a_run_lends_its_trunk_to_other_networks(images: Path, tmp_path: Path) -> None:
    dataset = tiny_dataset(images)
    train(tiny_config(JOINT, 1), dataset, tmp_path / "base", tmp_path / "cache")
    file = tmp_path / "base" / MODEL_FILE
    train(frozen_config(1, weights=str(file), embedding_dim=6), dataset, tmp_path / "run", tmp_path / "cache")
    base, run = (load_run(tmp_path / name).networks for name in ("base", "run"))
    for (name, lent), taken in zip(
        base.image_backbone.trunk.named_parameters(), run.image_backbone.trunk.parameters(), strict=True
    ):
        assert torch.equal(lent, taken), name
    assert run.config.embedding_dim == 6


def test_a_run_on_the_output_of_frozen_blocks_is_that_on_images(images: Path, tmp_path: Path) -> None:
    """Only the precision of the kept output differs."""
    dataset = tiny_dataset(images)
    losses = []
    for cached in (False, True):
        stage = {"phases": list(JOINT), "epochs": 1, "learning_rate": 1e-6, "frozen_blocks": 6, "cache_frozen": cached}
        tree = config_to_tree(tiny_config(JOINT, model={"linear_query": True}))
        out = tmp_path / f"cached-{cached}"
        assert train(config_from_tree({**tree, "stages": [stage]}), dataset, out, tmp_path / "cache")
        epoch = json.loads((out / METRICS_FILE).read_text().splitlines()[-1])
        losses.append(epoch["losses"])
        trunk = load_run(out).networks.image_backbone.trunk
        assert int(trunk.state_dict()["stem.1.num_batches_tracked"]) == 0
        assert int(trunk.state_dict()["head.1.num_batches_tracked"]) > 0
    assert losses[1] == pytest.approx(losses[0], rel=0.005)  # a larger rate would multiply the difference


def test_the_output_of_frozen_blocks_is_kept_for_images_and_mirror_images(images: Path, tmp_path: Path) -> None:
    pixels = load_images(tiny_dataset(images).train.image_paths, ImageSpec(64, 32), tmp_path)
    backbone = fresh_backbone(pixels).eval()
    backbone.trunk.frozen_blocks = 5
    kept = run_frozen_blocks(backbone, pixels, "fp32", tmp_path, Console(stderr=True))
    assert kept.dtype == torch.float16
    some = torch.tensor(pixels[[3, 30]])
    with torch.no_grad():
        expected = torch.stack([backbone(some), backbone(some.flip(2))])
        found = torch.stack([backbone(kept[[3, 30], side]) for side in (0, 1)])
    tolerance = 0.1 * float((expected[0] - expected[1]).abs().max())  # far less than what a mirror image changes
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def test_the_output_of_frozen_blocks_is_pooled_like_the_images(images: Path, tmp_path: Path) -> None:
    """Only the precision of the kept output differs. What is not asked for is zero."""
    pixels = load_images(tiny_dataset(images).train.image_paths, ImageSpec(64, 32), tmp_path)
    backbone = fresh_backbone(pixels, stripes=2).eval()
    backbone.trunk.frozen_blocks = 5
    rows, console = np.array([3, 7, 30]), Console(stderr=True)
    expected = pool_images(backbone, pixels, rows, tmp_path, console)
    blocks = run_frozen_blocks(backbone, pixels, "fp32", tmp_path, console)
    found = pool_blocks(backbone, blocks, rows, tmp_path, console)
    assert found.shape == expected.shape == (40, 2, 3 * 1280)
    assert not found[[0, 39]].any()
    tolerance = 0.1 * float((expected[rows, 0] - expected[rows, 1]).abs().max())  # a mirror image changes more
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def test_a_stage_on_pooled_output_takes_it_from_the_frozen_blocks(images: Path, tmp_path: Path) -> None:
    """It learns what it learns from images, but for the precision, and runs the blocks of the stage before once."""
    dataset = tiny_dataset(images)
    losses = []
    for cached in (False, True):
        first = {"phases": list(JOINT), "epochs": 1, "learning_rate": 1e-6, "frozen_blocks": 6, "cache_frozen": True}
        second = {"phases": list(JOINT), "epochs": 1, "learning_rate": 1e-6, "frozen_trunk": True}
        if cached:
            second |= {"frozen_blocks": 6, "cache_frozen": True}
        tree, out = config_to_tree(tiny_config(JOINT)), tmp_path / f"cached-{cached}"
        assert train(config_from_tree({**tree, "stages": [first, second]}), dataset, out, tmp_path / "cache")
        losses.append(json.loads((out / METRICS_FILE).read_text().splitlines()[-1])["losses"])
    assert losses[1] == pytest.approx(losses[0], rel=0.005)
    assert len(list((tmp_path / "cache").glob("blocks-*.npy"))) == 1


def test_frozen_blocks_run_in_the_precision_of_the_run(images: Path, tmp_path: Path) -> None:
    pixels = load_images(tiny_dataset(images).train.image_paths, ImageSpec(64, 32), tmp_path)
    backbone = Networks(tiny_config(JOINT).model, SCHEMA.num_bits, 5).image_backbone.eval()
    backbone.trunk.frozen_blocks = 5
    with torch.no_grad():
        exact = backbone.trunk.run_frozen(backbone.normalise(torch.tensor(pixels[:32]))).permute(0, 2, 3, 1)
    error = {
        precision: (run_frozen_blocks(backbone, pixels, precision, tmp_path, Console(stderr=True))[:32, 0] - exact)
        .abs()
        .max()
        / exact.abs().max()
        for precision in ("fp32", "bf16")
    }
    assert error["fp32"] <= torch.finfo(torch.float16).eps < error["bf16"] < 8 * torch.finfo(torch.bfloat16).eps


def test_the_output_of_frozen_blocks_is_found_again_after_the_others_have_trained(images: Path, tmp_path: Path) -> None:
    pixels = load_images(tiny_dataset(images).train.image_paths, ImageSpec(64, 32), tmp_path)
    backbone = Networks(tiny_config(JOINT).model, SCHEMA.num_bits, 5).image_backbone.eval()
    backbone.trunk.frozen_blocks = 5
    run_frozen_blocks(backbone, pixels, "fp32", tmp_path, Console(stderr=True))
    for changed, files in ((5, 1), (4, 2)):
        with torch.no_grad():
            next(backbone.trunk.sequence()[changed].parameters()).mul_(2)
        run_frozen_blocks(backbone, pixels, "fp32", tmp_path, Console(stderr=True))
        assert len(list(tmp_path.glob("blocks-*.npy"))) == files
