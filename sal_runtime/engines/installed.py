"""What is installed here that an engine needs."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

ONNX_RUNTIME_WHEELS = ("onnxruntime", "onnxruntime-gpu")


def installed_version(package: str) -> str | None:
    """Of a package, or None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def wheels_conflict() -> str:
    """What to do where both packages that bring the module onnxruntime are installed; empty where they are not."""
    found = {wheel: installed_version(wheel) for wheel in ONNX_RUNTIME_WHEELS}
    if None in found.values():
        return ""
    both = " and ".join(f"{wheel} {version}" for wheel, version in found.items())
    return (
        f"{both} are both installed and have overwritten each other's files; "
        f'pip uninstall {" ".join(found)} && pip install "sal-person-search[gpu]" (or [cpu])'
    )
