"""Installed packages that decide which library runs a graph."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

ONNX_RUNTIME_WHEELS = ("onnxruntime", "onnxruntime-gpu")


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
    both = " and ".join(f"{wheel} {version}" for wheel, version in found.items())
    return (
        f"{both} are both installed and have overwritten each other's files; "
        f'pip uninstall {" ".join(found)} && pip install "sal-person-search[gpu]" (or [cpu])'
    )
