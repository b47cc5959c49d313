"""PyTorch's own fp16 network, the peer of the exported one: the trunk in half precision, the rest in fp32."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sal_export.encoders import DeployedImageEncoder
from sal_train.networks import SearchNetworks


def half_image_encoder(networks: SearchNetworks) -> DeployedImageEncoder:
    """The deployed image encoder with its convolutions in fp16.

    Normalisation, pooling, FC, E_V and L2 norm stay in fp32, and so do input and output. BatchNorms are folded into
    their convolutions before rounding, because fp16 represents their variances and small scales badly.

    Args:
        networks: in evaluation mode, on the CPU; not changed.
    """
    half = copy.deepcopy(networks).eval()
    size = (1, 3, networks.config.height, networks.config.width)
    fold_batchnorms(half.image_backbone.trunk, torch.zeros(size))
    half.image_backbone.trunk.half()
    return DeployedImageEncoder(half).eval()


@torch.no_grad()
def fold_batchnorms(trunk: nn.Module, example: Tensor) -> None:
    """Fold each BatchNorm that directly follows a convolution into it, in place; an Identity replaces it.

    One run shows which BatchNorm follows which convolution, because the modules do not tell.

    Args:
        trunk: in evaluation mode.
        example: an input float32 [1, 3, H, W].
    """
    makers: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # keeps the tensor alive, so its id stays unique
    pairs: dict[nn.Module, nn.Conv2d] = {}

    def note_output(module: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        makers[id(output)] = (module, output)

    def note_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if id(inputs[0]) in makers:
            pairs[module] = makers[id(inputs[0])][0]

    hooks = [module.register_forward_hook(note_output) for module in trunk.modules() if isinstance(module, nn.Conv2d)]
    hooks += [
        module.register_forward_pre_hook(note_input) for module in trunk.modules() if isinstance(module, nn.BatchNorm2d)
    ]
    trunk(example)
    for hook in hooks:
        hook.remove()
    names = {module: name for name, module in trunk.named_modules()}
    for norm, convolution in pairs.items():
        assert isinstance(norm, nn.BatchNorm2d)
        trunk.set_submodule(names[convolution], fuse_conv_bn_eval(convolution, norm))
        trunk.set_submodule(names[norm], nn.Identity())
