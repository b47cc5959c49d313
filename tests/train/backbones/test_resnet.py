"""The ResNet-50 trunk against torchvision's."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

from sal_train.backbones.pretrained import build_backbone


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
