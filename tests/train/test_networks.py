"""Shapes, sizes and BatchNorm behaviour of the networks; published weights give published features."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sal_runtime.errors import InputError
from sal_train.backbones.pretrained import build_backbone, load_pretrained
from sal_train.config import ModelConfig
from sal_train.networks import Networks, batch_statistics, with_category_statistics
from tests.train.tiny_training import tiny_config, tiny_networks


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def test_the_paper_model_has_the_papers_size() -> None:
    """Counted by hand for Market-1501: 27.28 M, of which backbone and FC 24.56 M, E_V 0.43 M, D_1 0.66 M."""
    networks = Networks(ModelConfig(), num_bits=30, num_categories=508)
    assert parameters(networks) == pytest.approx(27.28e6, rel=1e-3)
    assert parameters(networks.image_backbone) == pytest.approx(24.56e6, rel=1e-3)
    assert parameters(networks.E_V) == pytest.approx(0.43e6, rel=0.01)
    assert parameters(networks.D_1) == pytest.approx(0.66e6, rel=0.01)


@pytest.mark.parametrize("backbone", ["resnet50", "efficientnet_lite0"])
@pytest.mark.parametrize(("last_stride", "rows"), [(2, 3), (1, 5)])
def test_feature_map_and_embedding_shapes(backbone: str, last_stride: int, rows: int) -> None:
    config = ModelConfig(backbone=backbone, last_stride=last_stride, height=72, width=40)
    networks = Networks(config, num_bits=30, num_categories=7).eval()
    images = torch.randint(0, 256, (2, 72, 40, 3), dtype=torch.uint8)
    with torch.no_grad():
        maps = networks.image_backbone.trunk(networks.image_backbone.normalise(images))
        embedding = networks.embed_images(images)
    assert maps.shape[-2] == rows
    assert embedding.shape == (2, 128)
    assert embedding.abs().max() <= 1.0  # tanh, as in the paper


def test_unit_heads_see_the_direction_only() -> None:
    networks = Networks(ModelConfig(backbone="efficientnet_lite0", unit_heads=True), 30, 7)
    embedding = torch.randn(4, 128)
    assert torch.allclose(networks.attribute_logits(embedding), networks.attribute_logits(3.0 * embedding), atol=1e-4)


def test_batch_statistics_leave_the_running_ones_alone() -> None:
    norm = nn.BatchNorm1d(3)
    norm(torch.randn(16, 3) + 5.0)
    before = {name: value.clone() for name, value in norm.named_buffers()}
    norm.eval()
    with batch_statistics(norm):
        out = norm(torch.randn(64, 3) - 7.0)
    assert out.mean().abs() < 1e-5  # normalised by its own batch
    assert not norm.training
    assert all(torch.equal(value, before[name]) for name, value in norm.named_buffers())


def test_missing_convolutions_are_reported_and_their_norms_reset(tmp_path: Path) -> None:
    trunk = build_backbone("resnet50", 2, "conv1").trunk
    state = {name: tensor.clone() for name, tensor in trunk.state_dict().items() if not name.endswith("tracked")}
    state = {name: torch.full_like(tensor, 0.5) for name, tensor in state.items()}
    del state["layer4.2.conv3.weight"], state["layer4.0.downsample.0.weight"]
    save_file(state, tmp_path / "partial.safetensors")
    report = load_pretrained(trunk, "resnet50", str(tmp_path / "partial.safetensors"))
    assert report.missing == ("layer4.0.downsample.0", "layer4.2.conv3")
    loaded = trunk.state_dict()
    assert (loaded["layer4.2.bn3.running_mean"] == 0).all()
    assert (loaded["layer4.0.downsample.1.weight"] == 1).all()
    assert (loaded["layer4.1.bn3.running_mean"] == 0.5).all()
    assert (loaded["conv1.weight"] == 0.5).all()


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    save_file({"encoder.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="is it another network"):
        load_pretrained(build_backbone("resnet50", 2, "conv2").trunk, "resnet50", str(tmp_path / "other.safetensors"))
    with pytest.raises(InputError, match="is not a file"):
        load_pretrained(build_backbone("resnet50", 2, "conv2").trunk, "resnet50", str(tmp_path / "none.pth"))


def test_a_trunk_of_a_run_says_which_data_it_learned_from(tmp_path: Path) -> None:
    trunk = build_backbone("efficientnet_lite0", 2, "conv2").trunk
    own = trunk.state_dict()
    state = {f"image_backbone.trunk.{name}": torch.full_like(tensor, 0.5) for name, tensor in own.items()}
    model = tmp_path / "model.safetensors"
    save_file(state, model)
    with pytest.raises(InputError, match=r"data\.json beside it is missing"):
        load_pretrained(trunk, "efficientnet_lite0", str(model))
    older = {"source": "model.safetensors", "loaded": 294, "missing": [], "trained_on": ["city: C; ask first"]}
    provenance = {"dataset": "peta", "attribution": "PETA", "licence": "research only", "pretrained": older}
    (tmp_path / "data.json").write_text(json.dumps({"provenance": provenance}))
    report = load_pretrained(trunk, "efficientnet_lite0", str(model))
    assert report.trained_on == ("peta: PETA; research only", "city: C; ask first")
    assert (trunk.state_dict()["stem.0.weight"] == 0.5).all()


def test_lite0_weights_fill_the_whole_trunk_and_give_sparse_maps() -> None:
    backbone = build_backbone("efficientnet_lite0", 2, "conv2")
    report = load_pretrained(backbone.trunk, "efficientnet_lite0", "imagenet")
    assert report.missing == ()
    backbone.trunk.eval()
    with torch.no_grad():
        features = backbone.trunk(torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)))
    assert features.shape == (1, 1280, 7, 7)
    assert 0.05 < (features > 0).float().mean() < 0.6  # ReLU6 maps of trained weights are sparse
    assert os.fspath(report.source)


def import_torchvision_resnet() -> ModuleType:
    """torchvision's module, also where its CUDA build lies beside a CPU build of torch.

    Its import then fails for want of two operators that ResNet does not use; their schemas are enough.
    """
    try:
        return importlib.import_module("torchvision.models.resnet")
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        return importlib.import_module("torchvision.models.resnet")


def test_resnet50_equals_torchvisions() -> None:
    resnet = import_torchvision_resnet()
    theirs = resnet.resnet50(weights=None).eval()
    ours = build_backbone("resnet50", 2, "conv2").trunk.eval()
    ours.load_state_dict({name: tensor for name, tensor in theirs.state_dict().items() if not name.startswith("fc.")})
    images = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        stem = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
        expected = theirs.layer4(theirs.layer3(theirs.layer2(theirs.layer1(stem))))
        assert torch.allclose(ours(images), expected, atol=1e-5)


def test_category_statistics_are_those_of_one_pass_over_the_categories() -> None:
    networks = tiny_networks(tiny_config(("embed_image",), model={"embedding_output": "batchnorm"}))
    before = {name: tensor.clone() for name, tensor in networks.state_dict().items()}
    vectors = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 5)
    settled = with_category_statistics(networks, vectors)
    assert not settled.training
    with torch.no_grad():
        hidden = networks.attribute_backbone[0](vectors)  # the first BatchNorm follows this
        norm = settled.attribute_backbone[1]
        torch.testing.assert_close(norm.running_mean, hidden.mean(0))
        torch.testing.assert_close(norm.running_var, hidden.var(0, unbiased=True))
        embedded = settled.embed_attributes(vectors)
    assert embedded.mean(0).abs().max() < 0.2  # the neck centres the categories
    assert all(torch.equal(before[name], tensor) for name, tensor in networks.state_dict().items())
    assert [module.momentum for module in settled.modules() if isinstance(module, torch.nn.BatchNorm1d)] == [
        module.momentum for module in networks.modules() if isinstance(module, torch.nn.BatchNorm1d)
    ]


def test_linear_encoders_have_one_layer_each() -> None:
    networks = tiny_networks(tiny_config(("embed_image",), model={"encoders": "linear"})).eval()
    vectors = torch.eye(5)
    with torch.no_grad():
        layer, E_A, E_V = networks.attribute_backbone[0], networks.E_A[0], networks.E_V[0]
        f_a = torch.tanh(vectors @ layer.weight.T + layer.bias)
        torch.testing.assert_close(networks.attribute_backbone(vectors), f_a)
        torch.testing.assert_close(networks.embed_attributes(vectors), torch.tanh(f_a @ E_A.weight.T + E_A.bias))
        torch.testing.assert_close(networks.E_V(f_a), torch.tanh(f_a @ E_V.weight.T + E_V.bias))
