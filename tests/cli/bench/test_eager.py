"""PyTorch as a contender: the same architecture, the run's weights, and a reason where it is missing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from sal_cli.bench import eager as eager_bench
from sal_cli.bench.eager import eager_contenders
from sal_cli.bench.engine import random_batch
from sal_export.encoders import DeployedImageEncoder
from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.errors import BundleError, ConfigError, InputError
from sal_train.checkpoint import load_run
from sal_train.train import train
from tests.runtime.tiny_bundle import make_tiny_bundle
from tests.runtime.varied_bundle import make_varied_bundle
from tests.train.tiny_training import tiny_config, tiny_dataset

MODEL = {
    "backbone": "efficientnet_lite0",
    "weights": "imagenet",
    "height": 16,
    "width": 8,
    "feature_dim": 12,
    "embedding_dim": 8,
}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_varied_bundle(tmp_path / "tiny", model=MODEL)


def test_the_stated_architecture_with_random_weights(bundle: Bundle) -> None:
    threads = torch.get_num_threads()
    (contender,), notes = eager_contenders(bundle, ("cpu", "trt"), threads=threads + 1)
    assert notes == []
    assert (contender.role, contender.artefact, contender.precision, contender.device) == (
        "image_encoder",
        "pytorch eager",
        "fp32",
        "cpu",
    )
    assert contender.library == f"torch {torch.__version__}"
    embeddings = contender.run(random_batch(bundle, "image_encoder", 3))
    assert torch.get_num_threads() == threads  # results of training depend on it
    assert (embeddings.dtype, embeddings.shape) == (np.float32, (3, 8))
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx(np.ones(3), abs=1e-5)


def test_a_bundle_that_does_not_state_its_architecture(tmp_path: Path) -> None:
    contenders, notes = eager_contenders(open_bundle(make_tiny_bundle(tmp_path / "old")), ("cpu",), threads=1)
    assert contenders == []
    assert len(notes) == 1
    assert "training.model" in notes[0]
    broken = make_varied_bundle(tmp_path / "broken", model={**MODEL, "layers": 3})
    with pytest.raises(BundleError, match=r"training\.model.*layers"):
        eager_contenders(broken, ("cpu",), threads=1)


def test_a_run_gives_its_weights(bundle: Bundle, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    config = tiny_config(("embed_image",), 1, model={"height": 16, "width": 8})
    train(config, tiny_dataset(images), tmp_path / "run", tmp_path / "cache")
    (contender,), _ = eager_contenders(bundle, ("cpu",), threads=1, run=tmp_path / "run")
    batch = random_batch(bundle, "image_encoder", 3)
    with torch.no_grad():
        expected = DeployedImageEncoder(load_run(tmp_path / "run").networks)(torch.from_numpy(batch)).numpy()
    assert contender.run(batch) == pytest.approx(expected, abs=1e-5)
    other = dataclasses.replace(bundle, embedding_dim=9)
    with pytest.raises(ConfigError, match=r"\(16, 8, 8\).*\(16, 8, 9\)"):
        eager_contenders(other, ("cpu",), threads=1, run=tmp_path / "run")
    with pytest.raises(InputError, match="finished"):
        eager_contenders(bundle, ("cpu",), threads=1, run=tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_a_gpu_that_pytorch_does_not_see_is_said(bundle: Bundle) -> None:
    contenders, notes = eager_contenders(bundle, ("cuda",), threads=1)
    assert contenders == []
    assert len(notes) == 1
    assert "finds no CUDA device" in notes[0]


def test_without_pytorch(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eager_bench, "find_spec", lambda name: None)
    contenders, notes = eager_contenders(bundle, ("cpu",), threads=1)
    assert contenders == []
    assert notes == [
        'not measured: pytorch eager: PyTorch is not installed; in the checkout of sal: `pip install ".[train]"`'
    ]
    with pytest.raises(ConfigError, match="PyTorch is not installed"):
        eager_contenders(bundle, ("cpu",), threads=1, run=Path("runs/x"))
