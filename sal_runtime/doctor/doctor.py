"""Finding out what works on this machine and why the rest does not: nothing is believed that was not tried.

A device works if every encoder of the bundle that is meant for it opens there and gives the bundle's golden embeddings.
Nothing in here raises: it is for installations that are broken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sal_runtime.bundle.bundle import GOLDEN, Artefact, Bundle, open_bundle
from sal_runtime.bundle.golden import measure_golden, missed_limit
from sal_runtime.bundle.shipped import default_bundle_path
from sal_runtime.doctor.machine import Gpu, find_gpus, int8_instructions, machine, versions
from sal_runtime.engines.devices import AUTO, ENGINES, open_backend
from sal_runtime.engines.installed import wheels_conflict
from sal_runtime.errors import BundleError, SalError
from sal_runtime.gallery.choices import choose_bundle_path

IMAGE_ROLE = "image_encoder"
GOLDEN_ARRAYS = {"images", "attributes", "image_embeddings", "attribute_embeddings"}


@dataclass(frozen=True)
class EncoderCheck:
    """One encoder on one device.

    Attributes:
        role: `image_encoder` or `attribute_encoder`.
        precision: of its arithmetic.
        works: it opened and gives the golden embeddings within the limit of its precision.
        max_abs: largest difference of a coordinate to them; None if it did not run.
        min_cosine: smallest cosine to them; None if it did not run.
        placement: nodes of the graph by what runs them; empty where an engine is one piece, None where this version of
            ONNX Runtime cannot tell.
        problem: why it does not work; empty if it does.
    """

    role: str
    precision: str
    works: bool
    max_abs: float | None
    min_cosine: float | None
    placement: Mapping[str, int] | None
    problem: str


@dataclass(frozen=True)
class DeviceCheck:
    """One device.

    Attributes:
        device: `cpu`, `cuda` or `trt`.
        works: every encoder of the bundle that is meant for it works on it, and there is one.
        problem: why not; empty if it works.
        extra: what brings its engine library, such as `sal-person-search[gpu]`.
        encoders: what was tried.
    """

    device: str
    works: bool
    problem: str
    extra: str
    encoders: tuple[EncoderCheck, ...]


@dataclass(frozen=True)
class BundleCheck:
    """Whether a bundle is whole.

    Attributes:
        path: of the bundle; empty if there is none.
        whole: every byte is as its manifest says.
        problem: what is wrong with it; empty if nothing is.
        name: for people; None if it cannot be opened.
        fingerprint: None if it cannot be opened.
        precisions: of its image encoders.
    """

    path: str
    whole: bool
    problem: str
    name: str | None
    fingerprint: str | None
    precisions: tuple[str, ...]


@dataclass(frozen=True)
class DoctorReport:
    """What `sal doctor` found.

    Attributes:
        ok: the bundle is whole, images can be decoded, and the device that was asked for works.
        asked: that device: `cpu`, `cuda`, `trt`, or `auto` for any.
        versions: of sal, Python and the packages that are installed, by name.
        machine: processor, cores, operating system.
        int8_instructions: whether the processor has what makes int8 fast, by name; empty where it is not known.
        gpus: NVIDIA GPUs.
        gpu_problem: why there are none; empty if there are.
        bundle: the one that was asked for.
        tried_with: path of the bundle that the devices were tried with; another one if that one cannot be opened; None
            if there was none.
        devices: in the order cpu, cuda, trt.
        problems: what else is wrong, a line each.
    """

    ok: bool
    asked: str
    versions: Mapping[str, str]
    machine: Mapping[str, Any]
    int8_instructions: Mapping[str, bool]
    gpus: tuple[Gpu, ...]
    gpu_problem: str
    bundle: BundleCheck
    tried_with: str | None
    devices: tuple[DeviceCheck, ...]
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON-serialisable form; a number that is none (NaN, infinite) becomes null."""
        document = asdict(self)
        for device in document["devices"]:
            for encoder in device["encoders"]:
                for key in ("max_abs", "min_cosine"):
                    encoder[key] = encoder[key] if encoder[key] is not None and math.isfinite(encoder[key]) else None
        return document


def examine(bundle: Path | None = None, device: str = "cpu") -> DoctorReport:
    """Look at the installation, the bundle and every device. Never raises; may take minutes where TensorRT builds.

    Args:
        bundle: None takes $SAL_BUNDLE, else the shipped one. If it cannot be opened, the shipped one is still tried on
            the devices.
        device: that must work for the report to be `ok`.
    """
    checked, opened = check_bundle(bundle)
    tried = opened or _shipped_bundle()
    devices = tuple(check_device(tried, one) for one in reversed(ENGINES))
    decoder_problem = _decoder_problem()
    works = any(one.works for one in devices if device in (one.device, AUTO))
    gpus, gpu_problem = find_gpus()
    return DoctorReport(
        ok=checked.whole and works and not decoder_problem,
        asked=device,
        versions=versions(),
        machine={key: value for key, value in machine().items() if key != "gpu"},
        int8_instructions=int8_instructions(),
        gpus=gpus,
        gpu_problem=gpu_problem,
        bundle=checked,
        tried_with=None if tried is None else str(tried.path),
        devices=devices,
        problems=tuple(problem for problem in (decoder_problem, wheels_conflict(), _unproven(devices)) if problem),
    )


def check_bundle(named: Path | None) -> tuple[BundleCheck, Bundle | None]:
    """Read every byte of a bundle, and the arrays in it; it is given back, opened, if it is whole."""
    path = ""
    try:
        place = choose_bundle_path(named)
        path = str(place)
        bundle = open_bundle(place)
        missing = GOLDEN_ARRAYS - bundle.golden.keys()
        if missing:
            raise BundleError(f"bundle {path}: {GOLDEN} lacks {', '.join(sorted(missing))}; export it again")
        bundle.attribute_head  # noqa: B018 - reads it
    except Exception as error:
        return BundleCheck(path, False, _text(error), None, None, ()), None
    precisions = tuple(artefact.precision for artefact in bundle.artefacts if artefact.role == IMAGE_ROLE)
    return BundleCheck(path, True, "", bundle.name, bundle.fingerprint, precisions), bundle


def check_device(bundle: Bundle | None, device: str) -> DeviceCheck:
    """Try the image encoders of a bundle that are meant for a device on it; on the CPU the attribute encoder, too.

    The attribute encoder is never run elsewhere.
    """
    engine = ENGINES[device]
    extra = f"sal-person-search[{engine.extra}]"
    if bundle is None:
        return DeviceCheck(device, False, "not tried: there is no whole bundle to try it with", extra, ())
    wanted = [
        artefact
        for artefact in bundle.artefacts
        if device in artefact.devices and (artefact.role == IMAGE_ROLE or engine.on_cpu)
    ]
    if not wanted:
        return DeviceCheck(device, False, "the bundle has no encoder for it", extra, ())
    encoders = tuple(check_encoder(bundle, artefact, device) for artefact in wanted)
    problem = next((encoder.problem for encoder in encoders if not encoder.works), "")
    return DeviceCheck(device, not problem, problem, extra, encoders)


def check_encoder(bundle: Bundle, artefact: Artefact, device: str) -> EncoderCheck:
    """Open an encoder on a device and run the golden inputs through it."""
    try:
        backend = open_backend(bundle.read_bytes(artefact.file), device, precision=artefact.precision)
        difference = measure_golden(bundle, artefact.role, backend.run, f"{artefact.file} on {device}")
    except Exception as error:
        return EncoderCheck(artefact.role, artefact.precision, False, None, None, None, _text(error))
    limit = missed_limit(difference, artefact.precision)
    problem = f"{artefact.file} does not give the golden embeddings: expected {limit}" if limit else ""
    return EncoderCheck(
        role=artefact.role,
        precision=artefact.precision,
        works=not problem,
        max_abs=difference.max_abs,
        min_cosine=difference.min_cosine,
        placement=getattr(backend, "placement", {}),
        problem=problem,
    )


def _shipped_bundle() -> Bundle | None:
    try:
        return open_bundle(default_bundle_path())
    except SalError:
        return None


def _unproven(devices: tuple[DeviceCheck, ...]) -> str:
    """What to do where ONNX Runtime ran an encoder and cannot tell where; empty where it can."""
    ran = [encoder for device in devices for encoder in device.encoders if encoder.max_abs is not None]
    if all(encoder.placement is not None for encoder in ran):
        return ""
    return "where the nodes of a graph ran is not provable with this version of ONNX Runtime; 1.24 and later tell"


def _decoder_problem() -> str:
    """Why images cannot be decoded; empty if they can."""
    try:
        import cv2  # noqa: F401
    except Exception as error:  # a missing libGL.so.1 is the usual reason
        return f"images cannot be decoded, OpenCV does not load: {_text(error)}"
    return ""


def _text(error: Exception) -> str:
    """An error in one line, for people."""
    text = " ".join(str(error).split())
    return text if isinstance(error, SalError) else f"{type(error).__name__}: {text}"
