"""A student imitates the embeddings of a finished run in the common space of that run."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from scipy.special import rel_entr, softmax

from sal_runtime.errors import ConfigError, InputError
from sal_runtime.images.spec import ImageSpec
from sal_train import iteration
from sal_train import teacher as teacher_module
from sal_train.checkpoint import load_run
from sal_train.config import Config
from sal_train.datasets.splits import SearchDataset
from sal_train.evaluation.held_out import encode_images, partition
from sal_train.images.cache import load_images
from sal_train.losses import distillation_losses
from sal_train.networks import Networks
from sal_train.teacher import embed_for_student, map_between_spaces, open_teachers, take_attribute_branch
from sal_train.train import train
from sal_train.training_data import assemble_batch, prepare_training_data
from tests.train.tiny_training import SCHEMA, statistics_of, tiny_batch, tiny_config, tiny_dataset, tiny_networks

JOINT = ("embed_joint",)
CONSOLE = Console(stderr=True)
EMBEDDINGS = {"embedding_output": "batchnorm", "encoders": "linear", "linear_query": True, "unit_heads": True}


def student_config(teacher: Path, *others: Path, epochs: int = 2, **model: object) -> Config:
    run = {"teacher": str(teacher), "other_teachers": [str(other) for other in others]}
    return tiny_config(("distil",), epochs, model={**EMBEDDINGS, **model}, run=run)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> SearchDataset:
    return tiny_dataset(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def teacher(dataset: SearchDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sees images at another size than its students."""
    folder = tmp_path_factory.mktemp("teacher")
    config = tiny_config(JOINT, 3, model={**EMBEDDINGS, "height": 48, "width": 24}, losses={"prototype": 1.0})
    assert train(config, dataset, folder / "run", folder / "cache")
    return folder / "run"


@pytest.fixture(scope="module")
def other_teacher(dataset: SearchDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Has another common space, of other size."""
    folder = tmp_path_factory.mktemp("other")
    config = tiny_config(JOINT, 2, model={**EMBEDDINGS, "embedding_dim": 6}, losses={"prototype": 1.0})
    assert train(config, dataset, folder / "second", folder / "cache")
    return folder / "second"


def test_distillation_losses_against_numpy() -> None:
    rng = np.random.default_rng(0)
    e, t, p = (rng.standard_normal(shape) for shape in ((6, 4), (6, 4), (9, 4)))
    t /= np.linalg.norm(t, axis=1, keepdims=True)
    distance, divergence = distillation_losses(*(torch.tensor(one) for one in (e, t, p)), scale=5.0)
    unit_e, unit_p = e / np.linalg.norm(e, axis=1, keepdims=True), p / np.linalg.norm(p, axis=1, keepdims=True)
    assert float(distance) == pytest.approx(np.mean([1 - one @ other for one, other in zip(unit_e, t, strict=True)]))
    student, taught = softmax(5.0 * unit_e @ unit_p.T, axis=1), softmax(5.0 * t @ unit_p.T, axis=1)
    assert float(divergence) == pytest.approx(rel_entr(taught, student).sum(axis=1).mean())
    zero = distillation_losses(torch.tensor(3.0 * t), torch.tensor(t), torch.tensor(p), 5.0)
    assert [float(one) for one in zero] == pytest.approx([0.0, 0.0], abs=1e-6)


def test_an_image_comes_with_the_teachers_average_of_it_and_its_mirror_image(
    dataset: SearchDataset, teacher: Path, tmp_path: Path
) -> None:
    config = student_config(teacher)
    (run,) = open_teachers(config, SCHEMA, dataset.train.category_vectors)
    part = partition(dataset.train, 0.0, 1)
    taught = embed_for_student([run], dataset.train, part.train, tmp_path, torch.device("cpu"), CONSOLE)
    pixels = np.array(load_images(dataset.train.image_paths, ImageSpec(48, 24), tmp_path))
    sides = (pixels, np.ascontiguousarray(pixels[:, :, ::-1]))
    average = sum(encode_images(run.networks, images, part.train) for images in sides) / 2
    torch.testing.assert_close(taught, average / average.norm(dim=1, keepdim=True))
    small = load_images(dataset.train.image_paths, ImageSpec(32, 16), tmp_path)
    data = prepare_training_data(config, dataset, statistics_of(dataset), part, small, torch.device("cpu"))
    data = dataclasses.replace(data, taught=taught)
    rows = np.arange(8)
    images, batch = assemble_batch(config, data, rows, torch.Generator().manual_seed(1))
    assert batch.taught is not None
    mirrored = [not torch.equal(images[row], torch.tensor(small[row]).float()) for row in rows]
    assert any(mirrored)
    assert not all(mirrored)
    assert torch.equal(batch.taught, taught[rows])


def test_a_rotated_space_is_turned_back_and_another_brought_as_near_as_a_linear_map_can() -> None:
    rng = np.random.default_rng(0)
    target = rng.standard_normal((50, 4)).astype(np.float32)
    target /= np.linalg.norm(target, axis=1, keepdims=True)
    rotation, _ = np.linalg.qr(rng.standard_normal((4, 4)))
    turned = torch.tensor(target @ rotation.astype(np.float32))
    np.testing.assert_allclose(map_between_spaces(turned, torch.tensor(target)), target, atol=1e-5)
    other = np.concatenate([np.zeros((2, 6)), rng.standard_normal((48, 6))]).astype(np.float32)
    mapped = map_between_spaces(torch.tensor(other), torch.tensor(target)).numpy()
    wanted = other @ np.linalg.pinv(other.astype(np.float64)) @ target
    lengths = np.linalg.norm(wanted[2:], axis=1, keepdims=True)
    np.testing.assert_allclose(mapped[2:], wanted[2:] / lengths, atol=1e-5)
    assert not mapped[:2].any()


def test_the_embeddings_of_several_teachers_are_averaged_in_the_space_of_the_first(
    dataset: SearchDataset, teacher: Path, other_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside numpy, with embeddings that are drawn: those of such short trainings hardly differ between images."""
    runs = open_teachers(student_config(teacher, other_teacher, other_teacher), SCHEMA, dataset.train.category_vectors)
    first, second = runs[0].config.model.embedding_dim, runs[1].config.model.embedding_dim
    assert first != second  # teachers may differ in all but their data
    rows = np.arange(3, len(dataset.train.categories))
    one, two, three = drawn = [np.random.default_rng(seed).standard_normal((len(rows) + 3, size)) for seed, size in
                               enumerate((first, second, second))]  # fmt: skip
    for embeddings in drawn:
        embeddings[:3] = 0.0
        embeddings[3:] /= np.linalg.norm(embeddings[3:], axis=1, keepdims=True)
    each = iter(drawn)
    monkeypatch.setattr(teacher_module, "_embed_both_sides", lambda *_: torch.tensor(next(each), dtype=torch.float32))
    mean = embed_for_student(runs, dataset.train, rows, tmp_path, torch.device("cpu"), CONSOLE).numpy()
    wanted = one[3:].copy()
    for other in (two[3:], three[3:]):
        mapped = other @ np.linalg.pinv(other) @ one[3:]
        wanted += mapped / np.linalg.norm(mapped, axis=1, keepdims=True)
    np.testing.assert_allclose(mean[3:], wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-5)
    assert not mean[:3].any()


def test_a_student_moves_its_image_branch_alone_towards_the_teacher() -> None:
    config = tiny_config(("distil",), model=EMBEDDINGS)
    networks, other = tiny_networks(config), Networks(config.model, SCHEMA.num_bits, 5)
    take_attribute_branch(networks, other)
    images, batch = tiny_batch(config)
    phases = iteration.stage_phases(config.stages[0])
    optimisers = iteration.build_optimisers(networks, phases, config.stages[0], config.optimiser)
    state = iteration.TrainState(networks, optimisers, None)
    before = {name: tensor.clone() for name, tensor in networks.state_dict().items()}
    terms = [iteration.run_iteration(state, phases, images, batch, config) for _ in range(30)]
    for name in ("distil_embedding", "distil_similarity"):
        assert float(terms[-1][name]) < 0.7 * float(terms[0][name])
    for name, tensor in networks.state_dict().items():
        moved = not torch.equal(tensor, before[name])
        if name.split(".")[0] not in ("image_backbone", "E_V"):
            assert not moved, name
    assert torch.equal(networks.C_att.weight, other.C_att.weight)


def test_a_student_has_the_teachers_common_space_and_says_whose(
    dataset: SearchDataset, teacher: Path, other_teacher: Path, tmp_path: Path
) -> None:
    assert train(student_config(teacher, other_teacher), dataset, tmp_path / "run", tmp_path / "cache")
    student, taught_by = load_run(tmp_path / "run"), load_run(teacher)
    state = student.networks.state_dict()
    for name, tensor in taught_by.networks.state_dict().items():
        if name.split(".")[0] in ("E_A", "attribute_backbone", "C_att", "C_cat"):
            torch.testing.assert_close(state[name], tensor, msg=name)
    origin = student.provenance["teacher"]
    assert (origin["run"], origin["dataset"], origin["licence"]) == ("run", "tiny", "Apache-2.0")
    assert [one["run"] for one in student.provenance["other_teachers"]] == ["second"]


def test_an_interrupted_student_goes_on_as_if_it_were_not(
    dataset: SearchDataset, teacher: Path, tmp_path: Path
) -> None:
    config = student_config(teacher)
    assert train(config, dataset, tmp_path / "whole", tmp_path / "cache")
    assert not train(config, dataset, tmp_path / "run", tmp_path / "cache", deadline=time.monotonic())
    assert train(config, dataset, tmp_path / "run", tmp_path / "cache", resume=True)
    whole, resumed = (load_run(tmp_path / name).networks.state_dict() for name in ("whole", "run"))
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name


def test_what_cannot_be_taught_is_refused(dataset: SearchDataset, teacher: Path, tmp_path: Path) -> None:
    for model, what in (({"embedding_dim": 16}, r"model\.embedding_dim"), ({"encoders": "mlp"}, r"model\.encoders")):
        with pytest.raises(InputError, match=f"has other {what}"):
            train(student_config(teacher, **model), dataset, tmp_path / "other", tmp_path / "cache")
        assert not (tmp_path / "other").exists()  # nothing is left that would be in the way
    with pytest.raises(InputError, match="has other training categories"):
        open_teachers(student_config(teacher), SCHEMA, dataset.train.category_vectors[1:])
    alone = tiny_config(("distil",), model=EMBEDDINGS, run={"other_teachers": [str(teacher)]})
    with pytest.raises(ConfigError, match=r"needs run\.teacher"):
        open_teachers(alone, SCHEMA, dataset.train.category_vectors)
    with pytest.raises(InputError, match="nowhere: no config"):
        open_teachers(student_config(teacher, tmp_path / "nowhere"), SCHEMA, dataset.train.category_vectors)
    with pytest.raises(ConfigError, match="needs a teacher"):
        train(tiny_config(("distil",), model=EMBEDDINGS), dataset, tmp_path / "alone", tmp_path / "cache")
    both = student_config(teacher)
    both = dataclasses.replace(both, run=dataclasses.replace(both.run, start_from=str(teacher)))
    with pytest.raises(ConfigError, match="exclude each other"):
        train(both, dataset, tmp_path / "both", tmp_path / "cache")
