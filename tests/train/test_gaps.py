"""Training on labels with gaps: nothing that is unknown matters, and where nothing is unknown nothing changes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from sal_export.package import export_run
from sal_export.publish import attach_metrics
from sal_train import iteration
from sal_train.checkpoint import MODEL_FILE, load_run, read_tensors
from sal_train.datasets.attribute_tree import fill_unknown, fit_statistics
from sal_train.datasets.splits import SearchDataset, Split, split_from_rows
from sal_train.evaluation.evaluate import Options, evaluate_bundle, evaluate_run
from sal_train.evaluation.held_out import partition
from sal_train.phases import PHASES, Batch, PhaseSettings
from sal_train.train import train
from sal_train.training_data import assemble_batch, prepare_training_data
from tests.train.tiny_training import SCHEMA, tiny_batch, tiny_config, tiny_dataset, tiny_networks

PROTOTYPES: dict[str, object] = {"prototype": 1.0, "prototype_unseen": True}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


def joint_terms(batch: Batch, **losses: object) -> dict[str, torch.Tensor]:
    """The loss terms of `embed_joint` for always the same networks and images."""
    config = tiny_config(("embed_joint",), losses=PROTOTYPES | losses)
    pixels, _ = tiny_batch(config)
    networks = tiny_networks(config)
    phases = (PHASES["embed_joint"],)
    features = iteration.compute_features(networks, phases, pixels, batch, "fp32")
    return phases[0].loss(networks, batch, features, PhaseSettings(config.losses))


def gappy(batch: Batch) -> Batch:
    """The batch, of which a third of the labels is unknown, and the categories accordingly."""
    generator = torch.Generator().manual_seed(9)
    category_known = (torch.rand(batch.category_vectors.shape, generator=generator) > 0.3).float()
    unseen = torch.ones(len(batch.attributes) - len(batch.categories), SCHEMA.num_bits)
    known = torch.cat([category_known[batch.categories], unseen])
    return dataclasses.replace(batch, known=known, category_known=category_known)


def test_a_label_that_is_unknown_does_not_reach_the_attribute_loss() -> None:
    _, batch = tiny_batch(tiny_config(("embed_joint",)))
    batch = gappy(batch)
    assert batch.known is not None
    changed = dataclasses.replace(batch, attributes=torch.where(batch.known == 1, batch.attributes, 0.9))
    first, second = (joint_terms(one, category=0.0, prototype=0.0) for one in (batch, changed))
    assert not torch.equal(batch.attributes, changed.attributes)
    torch.testing.assert_close(first["image_attribute"], second["image_attribute"])
    assert not torch.equal(
        first["image_attribute"], joint_terms(dataclasses.replace(batch, known=None))["image_attribute"]
    )


@pytest.mark.parametrize("softness", [0.0, 1.0])
def test_a_category_that_does_not_contradict_an_image_is_not_its_negative(softness: float) -> None:
    _, batch = tiny_batch(tiny_config(("embed_joint",)))
    people = torch.eye(5)  # all different, and different from the unseen ones
    attributes = torch.cat([people[batch.categories], 1.0 - people[:4], 1.0 - people[1:]])
    batch = dataclasses.replace(batch, attributes=attributes, category_vectors=people)
    everything_known = dataclasses.replace(
        batch, known=torch.ones_like(batch.attributes), category_known=torch.ones_like(batch.category_vectors)
    )
    nothing_known = dataclasses.replace(
        batch, known=torch.zeros_like(batch.attributes), category_known=torch.zeros_like(batch.category_vectors)
    )
    plain, full, empty = (
        joint_terms(one, prototype_softness=softness)["prototype"] for one in (batch, everything_known, nothing_known)
    )
    torch.testing.assert_close(full, plain)
    assert empty.item() == pytest.approx(0.0, abs=1e-5)  # nothing contradicts, so no negative remains


def with_gaps(dataset: SearchDataset) -> SearchDataset:
    """The hat of every second category is unknown, and these come from another data set."""

    def gappy_split(split: Split) -> Split:
        second = split.categories % 2
        known = np.ones(split.attributes.shape, dtype=np.bool_)
        known[second == 1, 0] = False
        attributes = np.where(known, split.attributes, 0).astype(np.uint8)
        names = ("first", "second")
        return split_from_rows(list(split.image_paths), attributes, list(split.identities), known, second, names)

    return dataclasses.replace(dataset, train=gappy_split(dataset.train), test=gappy_split(dataset.test))


def test_a_batch_holds_probabilities_of_what_is_unknown(images: Path) -> None:
    dataset = with_gaps(tiny_dataset(images))
    split = dataset.train
    config = tiny_config(("embed_joint",), unseen={"sampler": "flip"})
    statistics = fit_statistics(SCHEMA, split.attributes, split.known)
    pixels = np.zeros((len(split.image_paths), 32, 16, 3), dtype=np.uint8)
    data = prepare_training_data(config, dataset, statistics, partition(split, 0.0, 1), pixels, torch.device("cpu"))
    rows = np.arange(8)
    _, batch = assemble_batch(config, data, rows, torch.Generator().manual_seed(1))
    filled = fill_unknown(statistics, split.attributes, split.known)
    assert batch.attributes[:8].tolist() == filled[rows].tolist()
    assert batch.known is not None
    assert batch.known[:8].tolist() == split.known[rows].astype(float).tolist()
    assert batch.known[8:].shape == batch.attributes[8:].shape
    assert batch.category_known is not None
    for row, category in enumerate(batch.categories):
        assert torch.equal(batch.category_vectors[category], batch.attributes[row])
        assert torch.equal(batch.category_known[category], batch.known[row])


def test_a_run_on_two_data_sets_is_measured_on_each_to_its_bundle(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    dataset = with_gaps(tiny_dataset(tmp_path / "images", images_per_category=18))  # the gates need 65 crops
    config = tiny_config(
        ("embed_joint",),
        losses=PROTOTYPES,
        unseen={"sampler": "flip"},
        model={"linear_query": True, "weights": "imagenet", "feature_norm": "batch", "embedding_output": "batchnorm"},
        data={"validation_fraction": 0.3, "validate_every": 1},
    )
    train(config, dataset, tmp_path / "run", tmp_path / "cache")
    run = load_run(tmp_path / "run")
    validation = run.provenance["validation"]
    both = (validation["validation_mAP_first"] + validation["validation_mAP_second"]) / 2
    assert validation["validation_mAP"] == pytest.approx(both)
    assert not run.category_known.all()
    assert (run.category_vectors[~run.category_known] == 0).all()
    console = Console(quiet=True)
    report = evaluate_run(tmp_path / "run", dataset, Options(tmp_path / "cache"), console)
    first, second = (report["by_source"][name] for name in ("first", "second"))
    assert (first["num_queries"], second["num_queries"], report["num_queries"]) == (2, 2, 4)
    assert (first["num_gallery"], second["num_gallery"]) == (36, 36)
    assert report["mAP"] == pytest.approx((first["mAP"] + second["mAP"]) / 2)
    hat, red = (report["recognition"]["by_attribute"][name] for name in ("hat", "upper-colour=red"))
    assert hat["people"] + hat["people_without"] == 36  # images of the second data set do not tell
    assert red["people"] + red["people_without"] == 72
    json.dumps(report, allow_nan=False)
    bundle = export_run(run, tmp_path / "both.bundle", dataset, tmp_path / "cache", console)
    assert bundle.calibration is not None
    encoded = evaluate_bundle(bundle.path, dataset, Options(tmp_path / "cache"), console)
    assert encoded["mAP"] == pytest.approx(report["mAP"], abs=1e-3)
    card = attach_metrics(bundle.path, encoded).read_bytes("MODEL_CARD.md").decode()
    assert f"| {encoded['recognition']['by_attribute']['hat']['positives']} |" in card


def test_a_mask_that_leaves_nothing_out_changes_nothing(images: Path, tmp_path: Path) -> None:
    """Bit by bit: the same weights, whether all labels are known because a mask says so or because there is none."""
    dataset = tiny_dataset(images)
    split = dataset.train
    masked = dataclasses.replace(split, unknown=np.zeros(split.attributes.shape, dtype=np.bool_))
    config = tiny_config(
        ("embed_joint", "synthesis_D", "synthesis_G", "alignment_D", "alignment_E"),
        losses=PROTOTYPES | {"attribute_weighting": "deepmar"},
        unseen={"sampler": "flip", "reject_seen": True},
        model={"linear_query": True},
        data={"validation_fraction": 0.25},
    )
    weights = []
    for name, one in (("plain", split), ("masked", masked)):
        train(config, dataclasses.replace(dataset, train=one), tmp_path / name, tmp_path / "cache")
        weights.append(read_tensors(tmp_path / name / MODEL_FILE)[0])
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
