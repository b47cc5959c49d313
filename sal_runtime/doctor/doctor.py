"""Finds out what works on this machine, and why the rest does not, by trying everything.

A device works if every encoder of the bundle that is meant for it opens there and reproduces the golden embeddings.
Nothing here raises, because it is for broken installations.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sal_runtime.arrays import Precision
from sal_runtime.bundle.bundle import GOLDEN, IMAGE_ROLE, Artefact, Bundle, open_bundle
from sal_runtime.bundle.golden import measure_golden, missed_limit
from sal_runtime.bundle.shipped import default_bundle_path
from sal_runtime.doctor.machine import Gpu, find_gpus, int8_instructions, machine, versions
from sal_runtime.engines.devices import AUTO, DEVICE_ENTRIES, open_backend
from sal_runtime.engines.installed import wheels_conflict
from sal_runtime.errors import BundleError, SalError
from sal_runtime.files import cache_folder
from sal_runtime.gallery.choices import choose_bundle_path
from sal_runtime.gallery.folder import locate
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.images.pixels import import_opencv

GOLDEN_ARRAYS = {"images", "attributes", "image_embeddings", "attribute_embeddings"}


@dataclass(frozen=True)
class EncoderCheck:
    """One encoder on one device.

    Attributes:
        role: `IMAGE_ROLE` or `ATTRIBUTE_ROLE`.
        precision: precision of the encoder.
        works: whether it opened and reproduces the golden embeddings within the limit of its precision.
        max_abs: largest difference of a coordinate from the golden embeddings; None if the encoder did not run.
        min_cosine: smallest cosine to the golden embeddings; None if the encoder did not run.
        placement: number of graph nodes by the provider that runs them; empty for TensorRT, None if this version of
            ONNX Runtime does not report it.
        problem: why the encoder does not work; empty if it does.
    """

    role: str
    precision: Precision
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
        works: whether the bundle has encoders for the device and all of them work.
        problem: why the device does not work; empty if it does.
        extra: the extra of sal that installs its library, for example `gpu`.
        encoders: the encoders that were tried; empty if all failed for the one reason that `problem` gives.
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
        path: path of the bundle; empty if there is none.
        whole: whether every byte is as the manifest says.
        problem: what is wrong; empty if nothing is.
        name: name of the bundle; None if it cannot be opened.
        fingerprint: fingerprint of the bundle; None if it cannot be opened.
        precisions: precisions of its image encoders.
    """

    path: str
    whole: bool
    problem: str
    name: str | None
    fingerprint: str | None
    precisions: tuple[Precision, ...]


@dataclass(frozen=True)
class PlaceCheck:
    """A folder or a gallery that sal writes to.

    Attributes:
        path: where it is; empty if that is not known.
        works: whether it can be used.
        problem: what is wrong, or what cannot be done with it; empty if all is well.
        items: number of images of a gallery; None for a folder, and for a gallery that does not open.
    """

    path: str
    works: bool
    problem: str
    items: int | None = None


@dataclass(frozen=True)
class DoctorReport:
    """The findings of `sal doctor`.

    Attributes:
        ok: whether the bundle is whole, images can be decoded, the requested device works, and the gallery, if one is
            named, can be searched with the bundle.
        asked: the requested device: `cpu`, `cuda`, `trt`, or `auto` for any.
        versions: versions of sal, Python and installed packages, by name.
        machine: processor, cores, operating system.
        int8_instructions: whether the processor has each instruction set that makes int8 fast; empty if unknown.
        gpus: NVIDIA GPUs.
        gpu_problem: why there are no GPUs; empty if there are.
        bundle: the requested bundle.
        tried_with: path of the bundle that the devices were tried with, the shipped one if the requested one cannot be
            opened; None without any.
        devices: in the order cpu, cuda, trt.
        cache: where sal keeps galleries of folders that it may not write, engines and decoded images.
        gallery: the gallery that was named; None without one.
        problems: other problems, one line each.
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
    cache: PlaceCheck
    gallery: PlaceCheck | None
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON-serialisable form; NaN and infinite numbers become null."""
        document = asdict(self)
        for device in document["devices"]:
            for encoder in device["encoders"]:
                for key in ("max_abs", "min_cosine"):
                    encoder[key] = encoder[key] if encoder[key] is not None and math.isfinite(encoder[key]) else None
        return document


def examine(bundle: Path | None = None, device: str = "cpu", gallery: Path | None = None) -> DoctorReport:
    """Check the installation, the bundle and every device. Never raises; may take minutes if TensorRT builds an engine.

    Args:
        bundle: None for $SAL_BUNDLE, else the one that made the gallery, else the shipped one. If it cannot be opened,
            the devices are tried with the shipped one.
        device: device that must work for the report to be `ok`.
        gallery: a gallery file, or the folder it follows, that must open and be of the bundle.
    """
    checked, opened = check_bundle(bundle, gallery)
    tried = opened or _shipped_bundle()
    devices = tuple(check_device(tried, name) for name in reversed(DEVICE_ENTRIES))
    decoder_problem = _decoder_problem()
    works = any(check.works for check in devices if device in (check.device, AUTO))
    gpus, gpu_problem = find_gpus()
    place = None if gallery is None else check_gallery(gallery, opened)
    return DoctorReport(
        ok=checked.whole and works and not decoder_problem and (place is None or place.works),
        asked=device,
        versions=versions(),
        machine={key: value for key, value in machine().items() if key != "gpu"},
        int8_instructions=int8_instructions(),
        gpus=gpus,
        gpu_problem=gpu_problem,
        bundle=checked,
        tried_with=None if tried is None else str(tried.path),
        devices=devices,
        cache=check_cache(),
        gallery=place,
        problems=tuple(problem for problem in (decoder_problem, wheels_conflict(), _unproven(devices)) if problem),
    )


def check_bundle(named: Path | None, gallery: Path | None = None) -> tuple[BundleCheck, Bundle | None]:
    """Read every byte of a bundle and the arrays in it; returns the bundle too if it is whole."""
    path = ""
    try:
        path = str(_bundle_path(named, gallery))
        bundle = open_bundle(path)
        missing = GOLDEN_ARRAYS - bundle.golden.keys()
        if missing:
            raise BundleError(f"bundle {path}: {GOLDEN} lacks {', '.join(sorted(missing))}; export it again")
    except Exception as error:
        return BundleCheck(path, False, _text(error), None, None, ()), None
    precisions = tuple(artefact.precision for artefact in bundle.artefacts if artefact.role == IMAGE_ROLE)
    return BundleCheck(path, True, "", bundle.name, bundle.fingerprint, precisions), bundle


def _bundle_path(named: Path | None, gallery: Path | None) -> Path:
    if gallery is not None:
        with suppress(SalError, OSError), Gallery.open(locate(gallery)) as opened:
            return choose_bundle_path(named, opened)
    return choose_bundle_path(named)


def check_device(bundle: Bundle | None, device: str) -> DeviceCheck:
    """Try the image encoders that a bundle has for a device; on the CPU also the attribute encoder."""
    entry = DEVICE_ENTRIES[device]
    if bundle is None:
        return DeviceCheck(device, False, "not tried: there is no whole bundle to try it with", entry.extra, ())
    wanted = [
        artefact
        for artefact in bundle.artefacts
        if device in artefact.devices and (artefact.role == IMAGE_ROLE or entry.on_cpu)
    ]
    if not wanted:
        return DeviceCheck(device, False, "the bundle has no encoder for it", entry.extra, ())
    encoders = tuple(check_encoder(bundle, artefact, device) for artefact in wanted)
    problems = dict.fromkeys(encoder.problem for encoder in encoders if not encoder.works)
    none_ran = all(encoder.max_abs is None for encoder in encoders)
    told = () if none_ran and len(problems) == 1 else encoders
    return DeviceCheck(device, not problems, next(iter(problems), ""), entry.extra, told)


def check_encoder(bundle: Bundle, artefact: Artefact, device: str) -> EncoderCheck:
    """Open an encoder on a device and run the golden inputs through it."""
    try:
        backend = open_backend(bundle.read_bytes(artefact.file), device=device, precision=artefact.precision)
        difference = measure_golden(bundle, artefact.role, backend.run, f"{artefact.file} on {device}")
    except Exception as error:
        return EncoderCheck(artefact.role, artefact.precision, False, None, None, None, _text(error))
    limit = missed_limit(difference, artefact.precision)
    problem = f"{artefact.file} does not reproduce the golden embeddings: expected {limit}" if limit else ""
    return EncoderCheck(
        role=artefact.role,
        precision=artefact.precision,
        works=not problem,
        max_abs=difference.max_abs,
        min_cosine=difference.min_cosine,
        placement=getattr(backend, "placement", {}),
        problem=problem,
    )


def check_cache() -> PlaceCheck:
    """Whether the cache, or the folder in which it will be made, can be written."""
    try:
        folder = cache_folder()
    except SalError as error:
        return PlaceCheck("", False, _text(error))
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        return PlaceCheck(str(folder), True, "")
    return PlaceCheck(str(folder), False, "it cannot be written; set XDG_CACHE_HOME to a folder that can be")


def check_gallery(place: Path, bundle: Bundle | None) -> PlaceCheck:
    """Whether a gallery opens, is of the bundle (None if there is no whole one), and can be written."""
    try:
        path = locate(place)
        with Gallery.open(path) as gallery:
            items, maker, fingerprint = len(gallery), gallery.bundle_name, gallery.fingerprint
    except Exception as error:
        return PlaceCheck(str(place), False, _text(error))
    if bundle is not None and bundle.fingerprint != fingerprint:
        return PlaceCheck(str(path), False, f"it was made by bundle {maker}, not by {bundle.name}", items)
    can_write = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    return PlaceCheck(str(path), True, "" if can_write else "it can be searched, but not written", items)


def _shipped_bundle() -> Bundle | None:
    try:
        return open_bundle(default_bundle_path())
    except SalError:
        return None


def _unproven(devices: tuple[DeviceCheck, ...]) -> str:
    """What to do if ONNX Runtime ran an encoder and does not report where; empty if it does."""
    ran = [encoder for device in devices for encoder in device.encoders if encoder.max_abs is not None]
    if all(encoder.placement is not None for encoder in ran):
        return ""
    return "this version of ONNX Runtime does not prove where the nodes of a graph ran; use 1.24 or later"


def _decoder_problem() -> str:
    """Why images cannot be decoded; empty if they can."""
    try:
        import_opencv()
    except SalError as error:
        return f"images cannot be decoded, {error}"
    return ""


def _text(error: Exception) -> str:
    """An error in one line, for people."""
    text = " ".join(str(error).split())
    return text if isinstance(error, SalError) else f"{type(error).__name__}: {text}"
