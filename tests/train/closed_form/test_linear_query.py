"""The linear part of a query: against a least-squares solver, and as part of a run and of its export."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sal_export.encoders import DeployedAttributeEncoder
from sal_export.onnx_export import export_onnx
from sal_runtime.arrays import UInt8Array
from sal_runtime.engines.devices import open_backend
from sal_runtime.images.spec import ImageSpec
from sal_train import iteration
from sal_train.checkpoint import load_run
from sal_train.closed_form import linear_query
from sal_train.closed_form.linear_query import fit_linear_query, join_linear_query
from sal_train.datasets.splits import Split
from sal_train.evaluation.held_out import Partition, encode_images, partition
from sal_train.images.cache import load_images
from sal_train.recipe import config_from_tree, config_to_tree
from sal_train.train import train
from tests.train.tiny_training import tiny_config, tiny_dataset

JOINT = ("embed_image", "embed_attribute")


def test_the_fit_is_that_of_a_least_squares_solver() -> None:
    """Ridge as ordinary least squares: rows scaled by the root of their weight, and A rows that want zero weights."""
    rng = np.random.default_rng(0)
    categories = np.array([5, 5, 5, 2, 2, 9, 7, 7, 7, 7, 1, 0])
    attributes = rng.integers(0, 2, (12, 4)).astype(np.uint8)
    embeddings = rng.normal(size=(12, 3)).astype(np.float32)
    weight, bias = fit_linear_query(torch.from_numpy(embeddings), attributes, categories)
    counts = np.array([(categories == one).sum() for one in categories])
    a_mean = np.average(attributes, axis=0, weights=1 / counts)
    e_mean = np.average(embeddings, axis=0, weights=1 / counts)
    scale = np.sqrt(1 / counts)[:, None]
    rows = np.vstack([scale * (attributes - a_mean), np.sqrt(linear_query.RIDGE) * np.eye(4)])
    wanted = np.vstack([scale * (embeddings - e_mean), np.zeros((4, 3))])
    solution = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    np.testing.assert_allclose(weight.numpy(), solution.T, atol=1e-5)
    np.testing.assert_allclose(bias.numpy(), -a_mean @ solution, atol=1e-5)


def test_the_last_line_says_what_was_saved_and_why_its_scores_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config(JOINT, 2, model={"linear_query": True}, data={"validation_fraction": 0.25})
    train(config, tiny_dataset(tmp_path), tmp_path / "run", tmp_path / "cache")
    said = " ".join(capsys.readouterr().err.split())
    after = load_run(tmp_path / "run").provenance["validation"]["validation_mAP"]
    epochs = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    before = max(epoch.get("validation_mAP", 0.0) for epoch in epochs)
    assert f"mAP {100 * before:.1f} -> {100 * after:.1f}" in said
    assert "on 2 held-out categories, too few to tell such a difference from chance" in said
    assert "model.linear_query = false leaves it out" in said


def test_a_run_joins_it_and_the_export_has_it(tmp_path: Path) -> None:
    dataset = tiny_dataset(tmp_path)
    config = tiny_config(JOINT, 2, model={"linear_query": True}, data={"validation_fraction": 0.25})
    assert train(config, dataset, tmp_path / "run", tmp_path / "cache")
    run = load_run(tmp_path / "run")
    assert run.networks.linear_query is not None
    part = partition(dataset.train, 0.25, 1)
    images = load_images(dataset.train.image_paths, ImageSpec(32, 16), tmp_path / "cache")
    rows = part.train
    weight, bias = fit_linear_query(
        encode_images(run.networks, images, rows), dataset.train.attributes[rows], dataset.train.categories[rows]
    )
    torch.testing.assert_close(run.networks.linear_query.weight, weight)
    torch.testing.assert_close(run.networks.linear_query.bias, bias)
    vectors = torch.as_tensor(dataset.test.category_vectors).float()
    with torch.no_grad():
        e_a = run.networks.E_A(run.networks.attribute_backbone(vectors))
        directions = [torch.nn.functional.normalize(one) for one in (e_a, vectors @ weight.T + bias)]
        expected = torch.nn.functional.normalize(directions[0] + directions[1])
        torch.testing.assert_close(torch.nn.functional.normalize(run.networks.embed_attributes(vectors)), expected)
    backend = open_backend(export_onnx(DeployedAttributeEncoder(run.networks), vectors[:2], "attributes"))
    np.testing.assert_allclose(backend.run(vectors.numpy()), expected.numpy(), atol=1e-5)
    join_linear_query(tmp_path / "run", dataset.train, part, images)
    again = load_run(tmp_path / "run")
    assert again.provenance == run.provenance
    for (name, one), other in zip(run.networks.state_dict().items(), again.networks.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    beside = dataclasses.replace(dataset.train, num_auxiliary=20)
    join_linear_query(tmp_path / "run", beside, part, images)  # fitted to the split's own people alone
    rows = part.train[part.train < beside.num_own]
    assert len(rows) < len(part.train)
    weight, _ = fit_linear_query(
        encode_images(run.networks, images, rows), dataset.train.attributes[rows], dataset.train.categories[rows]
    )
    torch.testing.assert_close(load_run(tmp_path / "run").networks.linear_query.weight, weight)  # type: ignore[union-attr]


@pytest.mark.parametrize(("best", "inputs"), [(1, "images"), (2, "pooled"), (3, "pooled")])
def test_it_is_fitted_to_the_trunk_of_the_saved_model(
    best: int, inputs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if that is of an epoch before the last one that changed the trunk."""
    scores = iter([0.9 if epoch == best else 0.1 for epoch in (1, 2, 3)])
    joined: list[tuple[int, ...]] = []

    def join(out: Path, split: Split, part: Partition, images: UInt8Array | torch.Tensor) -> str:
        joined.append(images.shape)
        return join_linear_query(out, split, part, images)

    monkeypatch.setattr("sal_train.train.validate", lambda *_: {"validation_mAP": next(scores)})
    monkeypatch.setattr("sal_train.train.join_linear_query", join)
    learns = {"phases": list(JOINT), "epochs": 2, "learning_rate": 1e-2}
    frozen = {"phases": list(JOINT), "epochs": 1, "learning_rate": 1e-2, "frozen_trunk": True}
    data = {"validation_fraction": 0.25, "validate_every": 1}
    tree = config_to_tree(tiny_config(JOINT, model={"linear_query": True}, data=data))
    config = config_from_tree({**tree, "stages": [learns, frozen]})
    assert train(config, tiny_dataset(tmp_path), tmp_path / "run", tmp_path / "cache")
    assert load_run(tmp_path / "run").provenance["epoch"] == best
    assert joined == [{"images": (40, 32, 16, 3), "pooled": (40, 1280)}[inputs]]


def test_a_run_that_starts_from_another_begins_without_its_linear_query(tmp_path: Path) -> None:
    dataset = tiny_dataset(tmp_path)
    config = tiny_config(JOINT, 1, model={"linear_query": True})
    train(config, dataset, tmp_path / "base", tmp_path / "cache")
    seen: list[torch.Tensor] = []

    def watch(networks: torch.nn.Module, *_: object) -> None:
        seen.append(networks.linear_query.weight.clone())  # type: ignore[union-attr,operator]

    original = iteration.compute_features
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(iteration, "compute_features", lambda *given: (watch(*given), original(*given))[1])
        follow_up = tiny_config(JOINT, 1, model={"linear_query": True}, run={"start_from": str(tmp_path / "base")})
        train(follow_up, dataset, tmp_path / "run", tmp_path / "cache")
    assert seen
    assert not any(weight.any() for weight in seen)
    assert load_run(tmp_path / "run").networks.linear_query.weight.any()  # type: ignore[union-attr]
