"""The bundle: one directory (or the same as a .zip) that holds everything search needs, checked before use.

docs/bundle.md describes the files. `manifest.json` carries the sha256 of every other file, and
`manifest.json.sha256` (which `sha256sum -c` reads) that of the manifest, so a single changed byte anywhere is noticed.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sal_runtime.arrays import Float32Array
from sal_runtime.errors import BundleError, SchemaError
from sal_runtime.images.pixels import ImageSpec
from sal_runtime.query.schema import AttributeSchema
from sal_runtime.query.statistics import AttributeStatistics

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
MANIFEST_HASH = "manifest.json.sha256"
HEADS = "heads.npz"
GOLDEN = "golden.npz"
MODEL_CARD = "MODEL_CARD.md"


@dataclass(frozen=True)
class Artefact:
    """One exported encoder.

    Attributes:
        role: `image_encoder` or `attribute_encoder`.
        file: name inside the bundle.
        sha256: of the file, hex.
        bytes: length of the file.
        precision: of its arithmetic: fp32, fp16 or int8.
        devices: that are to run it; there may be one int8 encoder for ONNX Runtime and one for TensorRT.
        parity: how it compared with its source when it was exported.
        metrics: retrieval metrics measured with it.
    """

    role: str
    file: str
    sha256: str
    bytes: int
    precision: str
    devices: tuple[str, ...]
    parity: Mapping[str, Any]
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class Bundle:
    """An opened bundle; every file in it has been checked.

    Attributes:
        path: directory or .zip.
        manifest: the parsed manifest.
        name: for people.
        fingerprint: sha256 that identifies the embeddings it makes: schema, image spec, encoders and heads.
        embedding_dim: d.
        calibration: parameters of the likelihood of match, or None.
    """

    path: Path
    manifest: Mapping[str, Any]
    name: str
    fingerprint: str
    schema: AttributeSchema
    image_spec: ImageSpec
    embedding_dim: int
    statistics: AttributeStatistics
    calibration: Mapping[str, Any] | None
    artefacts: tuple[Artefact, ...]
    _read: Callable[[str], bytes] = field(repr=False, compare=False)

    def read_bytes(self, file: str) -> bytes:
        """The content of one of the bundle's files, checked again.

        Raises:
            BundleError: it is not listed in the manifest, is missing, or has changed.
        """
        entry = self.manifest["files"].get(file)
        if entry is None:
            raise BundleError(f"bundle {self.path}: {file} is not listed in {MANIFEST}")
        return _checked(self.path, file, self._read(file), entry["sha256"])

    def artefact(self, role: str, precision: str = "fp32", device: str = "cpu") -> Artefact:
        """The encoder of a role and precision that a device runs.

        Raises:
            BundleError: there is none; names those there are.
        """
        there = [artefact for artefact in self.artefacts if artefact.role == role]
        for artefact in there:
            if artefact.precision == precision and device in artefact.devices:
                return artefact
        found = ", ".join(f"{artefact.precision} for {'/'.join(artefact.devices)}" for artefact in there) or "none"
        raise BundleError(
            f"bundle {self.path}: no {role} in {precision} for {device}; there is {found}; "
            f"`sal export --precision {precision}` makes one"
        )

    @cached_property
    def attribute_head(self) -> tuple[Float32Array, Float32Array]:
        """(weight float32 `[A, d]`, bias float32 `[A]`): attribute logits are `unit_embeddings @ weight.T + bias`."""
        arrays = _arrays(self.path, HEADS, self.read_bytes(HEADS))
        weight = np.asarray(arrays["scale"] * arrays["weight"], dtype=np.float32)
        if weight.shape != (self.schema.num_bits, self.embedding_dim):
            raise BundleError(
                f"bundle {self.path}: {HEADS} holds weights {weight.shape}, "
                f"expected {(self.schema.num_bits, self.embedding_dim)}; export it again"
            )
        return weight, np.asarray(arrays["bias"], dtype=np.float32)

    @cached_property
    def golden(self) -> dict[str, NDArray[Any]]:
        """Inputs and the embeddings that they must give.

        `images` uint8 `[G, H, W, 3]`, `attributes` uint8 `[G, A]`, `image_embeddings` and `attribute_embeddings`
        float32 `[G, d]`.
        """
        return _arrays(self.path, GOLDEN, self.read_bytes(GOLDEN))


def open_bundle(path: Path | str) -> Bundle:
    """Open and check a bundle.

    Args:
        path: the directory, or a .zip of it.

    Raises:
        BundleError: it is missing, of an unknown format version, or a file in it is missing or altered; names the file.
    """
    path = Path(path)
    read = _zip_reader(path) if path.suffix == ".zip" else _directory_reader(path)
    text = read(MANIFEST)
    stated = read(MANIFEST_HASH)
    if stated != manifest_hash_line(text):
        raise BundleError(
            f"bundle {path}: {MANIFEST} does not match {MANIFEST_HASH}; copy the bundle whole or export it again"
        )
    try:
        manifest = json.loads(text)
        version = manifest["format_version"]
        if version != FORMAT_VERSION:
            raise BundleError(
                f"bundle {path}: format version {version}, this version of sal reads {FORMAT_VERSION}; "
                + ("update sal" if version > FORMAT_VERSION else "export the bundle again")
            )
        for file, entry in manifest["files"].items():
            if PurePosixPath(file).name != file:
                raise BundleError(f"bundle {path}: {file!r} is not a plain file name")
            _checked(path, file, read(file), entry["sha256"])
        return _bundle_from_manifest(path, manifest, read)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, SchemaError):
            raise BundleError(f"bundle {path}: {error}") from error
        raise BundleError(f"bundle {path}: {MANIFEST} is not complete ({error!r}); export it again") from error


def manifest_hash_line(manifest: bytes) -> bytes:
    """The content of `manifest.json.sha256` for a manifest, in the format of sha256sum."""
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n".encode()


def bundle_fingerprint(manifest: Mapping[str, Any]) -> str:
    """sha256 (hex) over what determines embeddings and evidence: schema, image spec, dimension, encoders, heads.

    Of the encoders those in fp32: the others are made from them and give, within the gate, the same embeddings. So a
    gallery stays valid when its bundle is exported again with int8.
    """
    hashed = [entry["file"] for entry in manifest["artefacts"] if entry["precision"] == "fp32"] + [HEADS]
    identity = {
        "schema": manifest["schema"],
        "image": manifest["image"],
        "embedding_dim": manifest["embedding_dim"],
        "files": {file: manifest["files"][file]["sha256"] for file in sorted(hashed)},
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _bundle_from_manifest(path: Path, manifest: dict[str, Any], read: Callable[[str], bytes]) -> Bundle:
    schema = AttributeSchema.from_json(manifest["schema"])
    artefacts = tuple(
        Artefact(
            role=entry["role"],
            file=entry["file"],
            sha256=manifest["files"][entry["file"]]["sha256"],
            bytes=manifest["files"][entry["file"]]["bytes"],
            precision=entry["precision"],
            devices=tuple(entry.get("devices", ("cpu", "cuda", "trt"))),
            parity=entry.get("parity", {}),
            metrics=entry.get("metrics", {}),
        )
        for entry in manifest["artefacts"]
    )
    fingerprint = bundle_fingerprint(manifest)
    if fingerprint != manifest["fingerprint"]:
        raise BundleError(
            f"bundle {path}: fingerprint {fingerprint[:12]}... is not that of {MANIFEST}; export it again"
        )
    return Bundle(
        path=path,
        manifest=manifest,
        name=str(manifest["name"]),
        fingerprint=fingerprint,
        schema=schema,
        image_spec=ImageSpec.from_json(manifest["image"]),
        embedding_dim=int(manifest["embedding_dim"]),
        statistics=AttributeStatistics.from_json(manifest["statistics"], schema),
        calibration=manifest["calibration"],
        artefacts=artefacts,
        _read=read,
    )


def _checked(bundle: Path, file: str, content: bytes, sha256: str) -> bytes:
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise BundleError(
            f"bundle {bundle}: {file} has sha256 {found[:12]}..., the manifest says {sha256[:12]}...; "
            "copy the bundle whole, or export it again"
        )
    return content


def _arrays(bundle: Path, file: str, content: bytes) -> dict[str, NDArray[Any]]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return dict(arrays)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise BundleError(f"bundle {bundle}: {file} cannot be read ({error}); export it again") from error


def _directory_reader(path: Path) -> Callable[[str], bytes]:
    if not path.is_dir():
        raise BundleError(f"bundle {path}: no such directory; expected the folder (or .zip) that `sal export` wrote")

    def read(file: str) -> bytes:
        try:
            return (path / file).read_bytes()
        except OSError as error:
            raise BundleError(f"bundle {path}: {file}: {error.strerror}; copy the bundle whole") from error

    return read


def _zip_reader(path: Path) -> Callable[[str], bytes]:
    """Files at the top of the archive or in its only folder."""
    try:
        with zipfile.ZipFile(path) as archive:
            contents = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    except (OSError, zipfile.BadZipFile) as error:
        raise BundleError(f"bundle {path}: cannot be read as a .zip ({error})") from error
    folders = {name.partition("/")[0] for name in contents}
    prefix = f"{folders.pop()}/" if MANIFEST not in contents and len(folders) == 1 else ""

    def read(file: str) -> bytes:
        if prefix + file not in contents:
            raise BundleError(f"bundle {path}: {file} is missing; zip the folder that `sal export` wrote")
        return contents[prefix + file]

    return read
