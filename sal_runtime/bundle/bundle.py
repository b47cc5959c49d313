"""The bundle: one directory, or a .zip of it, with everything that search needs; opening it checks every byte.

docs/bundle.md describes the files. `manifest.json` lists the sha256 of every other file, and `manifest.json.sha256`,
which `sha256sum -c` reads, that of the manifest, so a single changed byte is detected.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, get_args

import numpy as np

from sal_runtime.arrays import AnyArray, Float32Array, Precision
from sal_runtime.bundle.calibration import Calibration
from sal_runtime.bundle.shipped import ENVIRONMENT_VARIABLE, default_bundle_path
from sal_runtime.errors import BundleError, SchemaError
from sal_runtime.images.spec import ImageSpec
from sal_runtime.query.schema import AttributeSchema
from sal_runtime.query.statistics import AttributeStatistics

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
MANIFEST_HASH = "manifest.json.sha256"
HEADS = "heads.npz"
GOLDEN = "golden.npz"
MODEL_CARD = "MODEL_CARD.md"
IMAGE_ROLE = "image_encoder"
ATTRIBUTE_ROLE = "attribute_encoder"


@dataclass(frozen=True)
class Artefact:
    """One exported encoder.

    Attributes:
        role: `IMAGE_ROLE` or `ATTRIBUTE_ROLE`.
        file: name of the file in the bundle.
        sha256: sha256 of the file, hex.
        size: size of the file in bytes.
        precision: precision of the encoder.
        devices: devices that run it; a bundle may have one int8 encoder for ONNX Runtime and another for TensorRT.
        parity: comparison with the encoder it was exported from.
        metrics: retrieval metrics measured with it.
    """

    role: str
    file: str
    sha256: str
    size: int
    precision: Precision
    devices: tuple[str, ...]
    parity: Mapping[str, Any]
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class Bundle:
    """An opened bundle, checked and parsed.

    Opening it checks every file. An encoder is read and checked again when it is used, because keeping all of them in
    memory would cost an edge box more than a second hash; so what runs is always what the manifest says.

    Attributes:
        path: directory or .zip.
        manifest: the parsed manifest.
        name: name for people.
        fingerprint: sha256 that identifies its embeddings (`bundle_fingerprint`), hex.
        schema: attributes that it knows.
        image_spec: size and colour of the crops that it encodes.
        embedding_dim: length d of an embedding.
        statistics: frequencies of attributes among the training people.
        calibration: likelihood of match; None if it was not fitted.
        artefacts: the encoders.
        attribute_head: (weight float32 `[A, d]`, bias float32 `[A]`), so that attribute logits are
            `unit_embeddings @ weight.T + bias`.
    """

    path: Path
    manifest: Mapping[str, Any]
    name: str
    fingerprint: str
    schema: AttributeSchema
    image_spec: ImageSpec
    embedding_dim: int
    statistics: AttributeStatistics
    calibration: Calibration | None = field(compare=False)
    artefacts: tuple[Artefact, ...]
    attribute_head: tuple[Float32Array, Float32Array] = field(repr=False, compare=False)

    def read_bytes(self, file: str) -> bytes:
        """The content of one of the bundle's files, compared with the hash in the manifest.

        Raises:
            BundleError: the manifest does not list the file, or it has been altered or removed since.
        """
        if file not in self.manifest["files"]:
            raise BundleError(f"bundle {self.path}: {file} is not listed in {MANIFEST}")
        return _read_checked(self.path, _find_root(self.path), file, self.manifest["files"][file]["sha256"])

    def artefact(self, role: str, *, device: str = "cpu", precision: Precision = "fp32") -> Artefact:
        """The encoder with a role and a precision that runs on a device.

        Raises:
            BundleError: there is none; lists those that exist.
        """
        artefacts = [artefact for artefact in self.artefacts if artefact.role == role]
        for artefact in artefacts:
            if artefact.precision == precision and device in artefact.devices:
                return artefact
        found = ", ".join(f"{artefact.precision} for {'/'.join(artefact.devices)}" for artefact in artefacts) or "none"
        raise BundleError(
            f"bundle {self.path}: no {role} in {precision} for {device}; there is {found}; export it in {precision}"
        )

    @cached_property
    def golden(self) -> dict[str, AnyArray]:
        """Inputs and the embeddings that the encoders must reproduce.

        `images` uint8 `[G, H, W, 3]`, `attributes` uint8 `[G, A]`, `image_embeddings` and `attribute_embeddings`
        float32 `[G, d]`.

        Raises:
            BundleError: the file does not contain arrays.
        """
        return _arrays(self.path, GOLDEN, self.read_bytes(GOLDEN))


def open_bundle(path: Path | str | None = None) -> Bundle:
    """Open a bundle, check every byte of it, and parse it.

    Args:
        path: the directory, or a .zip of it; None for that of $SAL_BUNDLE, else the shipped one.

    Raises:
        BundleError: the bundle is missing, has an unknown format version or a bad calibration, or a file in it is
            missing or altered; names the file.
    """
    path = Path(path or os.environ.get(ENVIRONMENT_VARIABLE) or default_bundle_path())
    root = _find_root(path)
    text = _read(path, root, MANIFEST)
    if _read(path, root, MANIFEST_HASH) != manifest_hash_line(text):
        raise BundleError(
            f"bundle {path}: {MANIFEST} does not match {MANIFEST_HASH}; copy the whole bundle again, or export it again"
        )
    try:
        manifest, heads = json.loads(text), b""
        version = manifest["format_version"]
        if version != FORMAT_VERSION:
            raise BundleError(
                f"bundle {path}: format version {version}, this version of sal reads {FORMAT_VERSION}; "
                + ("update sal" if version > FORMAT_VERSION else "export the bundle again")
            )
        for file, entry in manifest["files"].items():
            content = _read_checked(path, root, file, entry["sha256"])
            heads = content if file == HEADS else heads
        return _bundle_from_manifest(path, manifest, heads)
    except SchemaError as error:
        raise BundleError(f"bundle {path}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"bundle {path}: {MANIFEST} is incomplete ({error!r}); export it again") from error


def manifest_hash_line(manifest: bytes) -> bytes:
    """The content of `manifest.json.sha256` for a manifest, in the format of sha256sum."""
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n".encode()


def bundle_fingerprint(manifest: Mapping[str, Any]) -> str:
    """sha256 (hex) of all that determines embeddings and evidence: schema, image spec, dimension, encoders, heads.

    Only the fp32 encoders count: the others are made from them and produce, within the gate, the same embeddings. So a
    gallery stays valid if its bundle is exported again with int8.
    """
    hashed = [entry["file"] for entry in manifest["artefacts"] if entry["precision"] == "fp32"] + [HEADS]
    identity = {
        "schema": manifest["schema"],
        "image": manifest["image"],
        "embedding_dim": manifest["embedding_dim"],
        "files": {file: manifest["files"][file]["sha256"] for file in sorted(hashed)},
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _bundle_from_manifest(path: Path, manifest: dict[str, Any], heads: bytes) -> Bundle:
    fingerprint = bundle_fingerprint(manifest)
    if fingerprint != manifest["fingerprint"]:
        raise BundleError(
            f"bundle {path}: fingerprint {fingerprint[:12]}... does not match {MANIFEST}; export it again"
        )
    schema = AttributeSchema.from_json(manifest["schema"])
    embedding_dim = int(manifest["embedding_dim"])
    return Bundle(
        path=path,
        manifest=manifest,
        name=str(manifest["name"]),
        fingerprint=fingerprint,
        schema=schema,
        image_spec=ImageSpec.from_json(manifest["image"]),
        embedding_dim=embedding_dim,
        statistics=AttributeStatistics.from_json(manifest["statistics"], schema),
        calibration=_calibration(path, manifest["calibration"], schema.num_bits),
        artefacts=tuple(_artefact(path, entry, manifest["files"]) for entry in manifest["artefacts"]),
        attribute_head=_attribute_head(path, heads, (schema.num_bits, embedding_dim)),
    )


def _artefact(path: Path, entry: Mapping[str, Any], files: Mapping[str, Any]) -> Artefact:
    if entry["precision"] not in get_args(Precision):
        raise BundleError(
            f"bundle {path}: {entry['file']} has precision {entry['precision']!r}, expected one of "
            f"{', '.join(get_args(Precision))}; update sal, or export the bundle again"
        )
    return Artefact(
        role=entry["role"],
        file=entry["file"],
        sha256=files[entry["file"]]["sha256"],
        size=files[entry["file"]]["bytes"],
        precision=entry["precision"],
        devices=tuple(entry.get("devices", ("cpu", "cuda", "trt"))),
        parity=entry.get("parity", {}),
        metrics=entry.get("metrics", {}),
    )


def _calibration(path: Path, data: Mapping[str, Any] | None, num_attributes: int) -> Calibration | None:
    try:
        return None if data is None else Calibration.from_json(data, num_attributes)
    except BundleError as error:
        raise BundleError(f"bundle {path}: {error}") from error


def _attribute_head(path: Path, content: bytes, shape: tuple[int, int]) -> tuple[Float32Array, Float32Array]:
    arrays = _arrays(path, HEADS, content)
    try:
        weight = np.asarray(arrays["scale"] * arrays["weight"], dtype=np.float32)
        bias = np.asarray(arrays["bias"], dtype=np.float32)
    except KeyError as error:
        raise BundleError(f"bundle {path}: {HEADS} lacks {error}; export it again") from error
    if weight.shape != shape:
        raise BundleError(f"bundle {path}: {HEADS} holds weights {weight.shape}, expected {shape}; export it again")
    return weight, bias


def _read_checked(path: Path, root: Path | zipfile.Path, file: str, sha256: str) -> bytes:
    if PurePosixPath(file).name != file:
        raise BundleError(f"bundle {path}: {file!r} is not a plain file name")
    content = _read(path, root, file)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise BundleError(
            f"bundle {path}: {file} has sha256 {found[:12]}..., the manifest says {sha256[:12]}...; "
            "copy the whole bundle again, or export it again"
        )
    return content


def _arrays(path: Path, file: str, content: bytes) -> dict[str, AnyArray]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return dict(arrays)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise BundleError(f"bundle {path}: {file} cannot be read ({error}); export it again") from error


def _find_root(path: Path) -> Path | zipfile.Path:
    """The directory of the files: the bundle itself, or the top of a .zip, or its only folder."""
    if path.suffix != ".zip":
        if not path.is_dir():
            raise BundleError(f"bundle {path}: no such directory; expected the folder (or .zip) of an exported bundle")
        return path
    try:
        top = zipfile.Path(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise BundleError(f"bundle {path}: cannot be read as a .zip ({error})") from error
    entries = list(top.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else top


def _read(path: Path, root: Path | zipfile.Path, file: str) -> bytes:
    try:
        return (root / file).read_bytes()
    except FileNotFoundError as error:
        raise BundleError(f"bundle {path}: {file} is missing; copy the whole bundle again") from error
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(f"bundle {path}: {file} cannot be read ({error}); copy the whole bundle again") from error
