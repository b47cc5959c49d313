"""Bundles: every byte counts, nothing half-written, readable as a folder and as a .zip."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sal_export import bundle_writing as writing
from sal_export import directories
from sal_runtime.bundle import bundle as bundle_module
from sal_runtime.bundle.bundle import MANIFEST, MANIFEST_HASH, manifest_hash_line, open_bundle
from sal_runtime.bundle.calibration import Calibration
from sal_runtime.encoding.encoders import AttributeEncoder, ImageEncoder
from sal_runtime.errors import BackendError, BundleError, InputError, SchemaError
from tests.runtime.tiny_bundle import DIM, SCHEMA, SPEC, embed_attributes, embed_image, make_tiny_bundle

FILES = ("manifest.json", "manifest.json.sha256", "image_encoder.onnx", "attribute_encoder.onnx", "heads.npz",
         "golden.npz", "MODEL_CARD.md")  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


def test_opens_with_all_its_parts(tiny: Path) -> None:
    bundle = open_bundle(tiny)
    assert (bundle.name, bundle.embedding_dim, bundle.image_spec, bundle.schema) == ("tiny", DIM, SPEC, SCHEMA)
    assert sorted(path.name for path in tiny.iterdir()) == sorted(FILES)
    weight, bias = bundle.attribute_head
    assert weight.shape == (SCHEMA.num_bits, DIM)
    assert bias.shape == (SCHEMA.num_bits,)


def test_no_path_means_the_one_of_the_environment_or_the_shipped_one(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAL_BUNDLE", str(tiny))
    assert open_bundle().name == "tiny"
    monkeypatch.delenv("SAL_BUNDLE")
    assert open_bundle().name == "edge"


def test_another_process_can_be_sent_a_bundle(tiny: Path) -> None:
    bundle = open_bundle(tiny)
    received = pickle.loads(pickle.dumps(bundle))
    assert (received.fingerprint, received.schema) == (bundle.fingerprint, bundle.schema)
    assert (AttributeEncoder(received).encode(np.zeros((1, SCHEMA.num_bits), np.uint8))).shape == (1, DIM)


@pytest.mark.parametrize("file", FILES)
def test_one_flipped_byte_anywhere_is_refused(tiny: Path, tmp_path: Path, file: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    content = bytearray((copy / file).read_bytes())
    for position in (0, len(content) // 3, len(content) - 1):
        damaged = bytearray(content)
        damaged[position] ^= 1
        (copy / file).write_bytes(damaged)
        with pytest.raises(BundleError, match=file.removesuffix(".sha256").replace(".", r"\.")):
            open_bundle(copy)
    (copy / file).unlink()
    with pytest.raises(BundleError, match=file.replace(".", r"\.")):
        open_bundle(copy)


@pytest.mark.parametrize("packed", [False, True])
def test_an_encoder_that_was_altered_after_the_bundle_was_opened_does_not_run(
    tiny: Path, tmp_path: Path, packed: bool
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    bundle = open_bundle(Path(shutil.make_archive(str(copy), "zip", copy)) if packed else copy)
    for file in copy.iterdir():
        file.write_bytes(b"something else")
    (tmp_path / "copy.zip").write_bytes(b"something else")
    for use in (lambda: ImageEncoder(bundle), lambda: AttributeEncoder(bundle), lambda: bundle.golden):
        with pytest.raises(BundleError, match=r"cannot be read as a \.zip|has sha256"):
            use()


def test_a_file_that_the_manifest_does_not_list_is_not_read(tiny: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    (copy / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match=r"notes\.txt is not listed in manifest\.json"):
        open_bundle(copy).read_bytes("notes.txt")


@pytest.mark.parametrize("prefix", ["", "tiny/"])
def test_a_zip_is_the_same_bundle(tiny: Path, tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "tiny.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in tiny.iterdir():
            archive.write(file, prefix + file.name)
    bundle = open_bundle(path)
    assert bundle.fingerprint == open_bundle(tiny).fingerprint
    images = bundle.golden["images"]
    assert np.allclose(ImageEncoder(bundle).encode(images), bundle.golden["image_embeddings"], atol=1e-6)


def rewrite_manifest(folder: Path, change: dict[str, object]) -> None:
    """Change the manifest as somebody would who also fixes its hash."""
    manifest = json.loads((folder / MANIFEST).read_text())
    text = json.dumps(manifest | change).encode()
    (folder / MANIFEST).write_bytes(text)
    (folder / MANIFEST_HASH).write_bytes(manifest_hash_line(text))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "format version 2, this version of sal reads 1; update sal"),
        ({"embedding_dim": 9}, "fingerprint"),
        ({"files": {"../secret": {"sha256": "0", "bytes": 0}}}, "plain file name"),
        ({"artefacts": [{}]}, "incomplete"),
        ({"statistics": {"count": 1, "parents": [-1], "tables": [[1.0]]}}, "do not fit"),
        (
            {"calibration": {"method": "isotonic"}},
            "got the method 'isotonic', expected 'match score'",
        ),
        ({"calibration": [1.0]}, "incomplete"),
    ],
)
def test_manifests_that_cannot_be_used(tiny: Path, tmp_path: Path, change: dict[str, object], message: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    rewrite_manifest(copy, change)
    with pytest.raises(BundleError, match=message):
        open_bundle(copy)


def test_a_precision_that_this_version_does_not_know(tiny: Path, tmp_path: Path) -> None:
    manifest = json.loads((tiny / MANIFEST).read_text())
    manifest["artefacts"].append({"role": "image_encoder", "file": "image_encoder.onnx", "precision": "int4"})
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    rewrite_manifest(copy, {"artefacts": manifest["artefacts"]})
    with pytest.raises(
        BundleError, match=r"image_encoder\.onnx has precision 'int4', expected one of fp32, fp16, int8"
    ):
        open_bundle(copy)


def test_the_calibration_is_read_once_when_the_bundle_is_opened(tiny: Path, tmp_path: Path) -> None:
    assert open_bundle(tiny).calibration is None
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    numbers = np.arange(1, 1 + open_bundle(tiny).schema.num_bits, dtype=np.float32)
    fitted = Calibration(numbers, -numbers, 0.5, 1.0, 2.0, -3.0, 4.0, -1.0)
    rewrite_manifest(copy, {"calibration": fitted.to_json() | {"fitted_on": "nobody"}})
    calibration = open_bundle(copy).calibration
    assert calibration is not None
    assert calibration.to_json() == fitted.to_json()


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ({"weight": np.ones((3, DIM)), "bias": np.ones(3), "scale": 1.0}, rf"holds weights \(3, {DIM}\), expected"),
        ({"weight": np.ones((SCHEMA.num_bits, DIM)), "scale": 1.0}, "lacks 'bias'"),
        (b"not arrays", "cannot be read"),
    ],
)
def test_a_bundle_without_its_attribute_head_is_refused(
    tiny: Path, tmp_path: Path, heads: dict[str, Any] | bytes, message: str
) -> None:
    bundle = open_bundle(tiny)
    files = {file: bundle.read_bytes(file) for file in bundle.manifest["files"]}
    if isinstance(heads, dict):
        buffer = io.BytesIO()
        np.savez(buffer, **heads)
        heads = buffer.getvalue()
    with pytest.raises(BundleError, match=rf"heads\.npz {message}"):
        writing.write_bundle(tmp_path / "bad", bundle.manifest, files | {"heads.npz": heads})
    assert not (tmp_path / "bad").exists()


def test_a_damaged_or_incomplete_zip_is_refused(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in tiny.iterdir():
            archive.write(file, file.name)
    whole = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        places = [info.header_offset + 30 + len(info.filename) + 5 for info in archive.infolist()]
    for place in places:
        damaged = whole.copy()
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        with pytest.raises(BundleError):
            open_bundle(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(tiny / MANIFEST, MANIFEST)
    with pytest.raises(BundleError, match=r"manifest\.json\.sha256 is missing"):
        open_bundle(path)


def test_what_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such directory"):
        open_bundle(tmp_path / "nothing")
    (tmp_path / "x.zip").write_bytes(b"not a zip")
    with pytest.raises(BundleError, match=r"cannot be read as a \.zip"):
        open_bundle(tmp_path / "x.zip")
    with pytest.raises(BundleError, match=r"manifest\.json is missing"):
        open_bundle(tmp_path)


def test_replacing_leaves_the_new_one_and_nothing_else(tmp_path: Path) -> None:
    first = open_bundle(make_tiny_bundle(tmp_path / "tiny"))
    second = open_bundle(make_tiny_bundle(tmp_path / "tiny", seed=3))
    assert first.fingerprint != second.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_and_the_bundle_behind_it_is_replaced(tmp_path: Path, exists: bool) -> None:
    if exists:
        make_tiny_bundle(tmp_path / "v1")
    (tmp_path / "current").symlink_to("v1")
    second = open_bundle(make_tiny_bundle(tmp_path / "current", seed=3))
    assert (tmp_path / "current").is_symlink()
    assert open_bundle(tmp_path / "v1").fingerprint == second.fingerprint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "v1"]


@pytest.mark.parametrize("failing", ["write_synced", "swap_in", "open_bundle"])
def test_a_failure_while_writing_keeps_the_old_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    old = open_bundle(make_tiny_bundle(tmp_path / "tiny"))

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing if failing == "open_bundle" else directories, failing, fail)
    with pytest.raises(BundleError, match="No space left on device; nothing has been changed"):
        make_tiny_bundle(tmp_path / "tiny", seed=3)
    monkeypatch.undo()
    assert open_bundle(tmp_path / "tiny").fingerprint == old.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_folder_that_is_no_bundle_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(BundleError, match="is not a bundle; name another"):
        make_tiny_bundle(tmp_path / "photos")
    assert (tmp_path / "photos" / "holiday.jpg").exists()


def test_swapping_without_an_exchange_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiny_bundle(tmp_path / "tiny")
    monkeypatch.setattr(directories.ctypes, "CDLL", lambda *_, **__: object())
    second = open_bundle(make_tiny_bundle(tmp_path / "tiny", seed=3))
    assert open_bundle(tmp_path / "tiny").fingerprint == second.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_the_fingerprint_ignores_metrics_and_card(tiny: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    rewrite_manifest(copy, {"metrics": {"mAP": 0.5}})
    assert open_bundle(copy).fingerprint == open_bundle(tiny).fingerprint
    assert bundle_module.FORMAT_VERSION == 1


def test_encoders_give_the_closed_form(tiny: Path) -> None:
    bundle = open_bundle(tiny)
    rng = np.random.default_rng(4)
    images = rng.integers(0, 256, (11, SPEC.height, SPEC.width, 3), dtype=np.uint8)
    for batch_size in (1, 3, 64):
        assert np.allclose(ImageEncoder(bundle, batch_size=batch_size).encode(images), embed_image(images), atol=1e-5)
    flipped = images[:, :, ::-1]
    assert np.allclose(ImageEncoder(bundle).encode(flipped), embed_image(np.ascontiguousarray(flipped)), atol=1e-5)
    assert ImageEncoder(bundle).encode(images[:0]).shape == (0, DIM)
    vectors = bundle.golden["attributes"]
    assert np.allclose(AttributeEncoder(bundle).encode(vectors), embed_attributes(vectors), atol=1e-5)


def test_encoders_refuse_other_inputs(tiny: Path) -> None:
    bundle = open_bundle(tiny)
    with pytest.raises(InputError, match="expected uint8"):
        ImageEncoder(bundle).encode(np.zeros((1, SPEC.height, SPEC.width, 3), np.float32))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"expected uint8 \[N, 16, 8, 3\]"):
        ImageEncoder(bundle).encode(np.zeros((1, 3, SPEC.height, SPEC.width), np.uint8))
    with pytest.raises(SchemaError, match="expected"):
        AttributeEncoder(bundle).encode(np.zeros((1, 3), np.uint8))
    with pytest.raises(InputError, match="batch_size"):
        ImageEncoder(bundle, batch_size=0)
    with pytest.raises(BundleError, match="no image_encoder in int8 for cpu; there is fp32 for cpu/cuda/trt"):
        ImageEncoder(bundle, precision="int8")


def test_a_device_that_is_not_there_is_refused(tiny: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("tests the refusal by the CPU build of ONNX Runtime")
    bundle = open_bundle(tiny)
    with pytest.raises(BackendError, match="has no CUDAExecutionProvider"):
        ImageEncoder(bundle, device="cuda")
    with pytest.raises(BackendError, match="expected one of cpu, cuda"):
        ImageEncoder(bundle, device="tpu")


def test_a_graph_that_is_no_graph_is_one_clear_line() -> None:
    from sal_runtime.engines.devices import open_backend

    with pytest.raises(BackendError, match="cannot load the graph") as error:
        open_backend(b"garbage")
    assert "\n" not in str(error.value)
