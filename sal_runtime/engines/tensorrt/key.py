"""The key that a TensorRT engine is stored under, which decides whether it fits."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from sal_runtime.arrays import Precision
from sal_runtime.errors import BackendError


@dataclass(frozen=True)
class Profile:
    """The batch sizes that an engine accepts.

    Attributes:
        min_batch: smallest batch.
        opt_batch: batch that the engine is tuned for.
        max_batch: largest batch; buffers are allocated for it.
    """

    min_batch: int = 1
    opt_batch: int = 32
    max_batch: int = 128

    def __post_init__(self) -> None:
        if not 1 <= self.min_batch <= self.opt_batch <= self.max_batch:
            raise BackendError(
                f"batch sizes are {self.min_batch}, {self.opt_batch}, {self.max_batch}; "
                "expected 1 <= smallest <= best <= largest"
            )

    def __str__(self) -> str:
        return f"batches {self.min_batch} to {self.max_batch}, best at {self.opt_batch}"


@dataclass(frozen=True)
class EngineKey:
    """What an engine was built from and for.

    Attributes:
        artefact_sha256: sha256 of the .onnx file, hex.
        precision: precision of an encoder's engine; None for another graph's, which has that of the graph.
        library: `TensorRT` or `TensorRT-RTX`.
        library_version: full build version.
        compute_capabilities: GPUs that it runs on; TensorRT builds for one, TensorRT-RTX for one or more.
        gpu: model of the GPU that it was tuned on; None if it was built without one.
        platform: operating system and machine.
        profile: batch sizes.
    """

    artefact_sha256: str
    precision: Precision | None
    library: str
    library_version: str
    compute_capabilities: tuple[str, ...]
    gpu: str | None
    platform: str
    profile: Profile

    @property
    def digest(self) -> str:
        """sha256 of all fields, hex."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> EngineKey:
        """The inverse of `dataclasses.asdict`."""
        capabilities, profile = tuple(value["compute_capabilities"]), Profile(**value["profile"])
        return cls(**{**value, "compute_capabilities": capabilities, "profile": profile})


def this_platform() -> str:
    """Operating system and machine, for example `linux-x86_64`."""
    return f"{platform.system()}-{platform.machine()}".lower()


def differences(built: EngineKey, wanted: EngineKey) -> list[str]:
    """Why a built engine does not fit, in words, the most telling reason first; empty if it fits.

    An engine that was built for more compute capabilities than the wanted ones fits.
    """
    built_by, this_is = (f"{key.library} {key.library_version}" for key in (built, wanted))
    words = {
        "artefact_sha256": "built from another graph",
        "platform": f"built on {built.platform}, this is {wanted.platform}",
        "library": f"built by {built_by}, this is {this_is}",
        "library_version": f"built by {built_by}, this is {this_is}",
        "compute_capabilities": (
            f"built for compute capability {', '.join(built.compute_capabilities)}, "
            f"this is {', '.join(wanted.compute_capabilities)}"
        ),
        "gpu": f"built on {built.gpu or 'no GPU'}, this is {wanted.gpu or 'no GPU'}",
        "precision": f"built in {built.precision}, asked for {wanted.precision}",
        "profile": f"built for {built.profile}, asked for {wanted.profile}",
    }
    different = {field.name for field in fields(EngineKey) if getattr(built, field.name) != getattr(wanted, field.name)}
    if set(wanted.compute_capabilities) <= set(built.compute_capabilities):
        different.discard("compute_capabilities")
    if "library" in different:
        different.discard("library_version")
    order = list(words)
    return [words[name] for name in sorted(different, key=order.index)]
