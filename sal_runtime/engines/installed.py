"""Installed packages that decide which library runs a graph, and the only way to import ONNX Runtime."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

from sal_runtime.errors import install

ONNX_RUNTIME_WHEELS = ("onnxruntime", "onnxruntime-gpu")


def import_onnxruntime(module: str = "onnxruntime") -> ModuleType:
    """Import ONNX Runtime, or a module inside it, so that it reports nothing to anybody.

    What the user has set in `ORT_DISABLE_TELEMETRY` stays. Nothing else in this repository imports it.

    Raises:
        ImportError: it is not installed.
    """
    forbid_telemetry()
    return import_module(module)


def forbid_telemetry() -> None:
    """Switch off the telemetry of ONNX Runtime before a third library, such as PyTorch's exporter, imports it."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # from 1.29 on it reports the machine to its maker


def installed_version(package: str) -> str | None:
    """Version of a package, or None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def wheels_conflict() -> str:
    """How to resolve the conflict if both packages that contain the module onnxruntime are installed; else empty."""
    found = {wheel: installed_version(wheel) for wheel in ONNX_RUNTIME_WHEELS}
    if None in found.values():
        return ""
    remedy = install("gpu", f"pip uninstall {' '.join(found)}")
    both = " and ".join(f"{wheel} {version}" for wheel, version in found.items())
    return f"{both} are both installed and have overwritten each other's files; {remedy} (or cpu instead of gpu)"
