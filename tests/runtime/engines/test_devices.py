"""No device but the requested one, `auto` in its order and with its reasons, and what the machine has."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.doctor.machine import Gpu, find_gpus, int8_instructions
from sal_runtime.encoding.encoders import CPU_BATCH_SIZE, ImageEncoder, LazyImageEncoder
from sal_runtime.engines.devices import (
    DEVICE_ENTRIES,
    Backend,
    DeviceChoice,
    DeviceEntry,
    choose_backend,
    open_backend,
)
from sal_runtime.engines.installed import wheels_conflict
from sal_runtime.errors import BackendError, BundleError
from sal_runtime.matching.open_and_ask import search
from tests.runtime import fake_backends
from tests.runtime.fake_backends import FakeBackend
from tests.runtime.gallery_images import make_folder
from tests.runtime.tiny_bundle import SPEC, embed_image, make_tiny_bundle
from tests.runtime.varied_bundle import make_varied_bundle

Array = np.ndarray
FAKES = "tests.runtime.fake_backends"
IMAGES = np.random.default_rng(0).integers(0, 256, (5, SPEC.height, SPEC.width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(make_tiny_bundle(tmp_path_factory.mktemp("devices") / "tiny"))


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replaces devices by those of fake_backends: `devices(trt="right", cuda="refused")`."""
    monkeypatch.setattr(fake_backends, "opened", [])

    def replace(**by_device: str) -> None:
        for device, kind in by_device.items():
            extra = DEVICE_ENTRIES[device].extra if device in DEVICE_ENTRIES else device
            monkeypatch.setitem(DEVICE_ENTRIES, device, DeviceEntry(f"{FAKES}:open_{kind}", extra))

    return replace


def choose(device: str) -> tuple[list[str], DeviceChoice]:
    """The devices that `choose_backend` tried, in order, and its choice."""
    tried: list[str] = []

    def model_for(candidate: str) -> bytes:
        tried.append(candidate)
        return candidate.encode()

    return tried, choose_backend(model_for, device=device)[1]


@pytest.mark.parametrize("device", ["cpu", "cuda", "trt"])
def test_an_unavailable_device_is_an_error_and_nothing_else_is_tried(device: str, devices: Callable[..., None]) -> None:
    devices(**{name: "refused" if name == device else "right" for name in ("cpu", "cuda", "trt")})
    with pytest.raises(BackendError, match="no such hardware"):
        choose(device)
    assert fake_backends.opened == []


@pytest.mark.parametrize("refused", [(), ("trt",), ("trt", "cuda"), ("cuda",)])
def test_auto_takes_the_first_that_opens_and_says_why_not_the_others(
    refused: tuple[str, ...], devices: Callable[..., None]
) -> None:
    devices(**{name: "refused" if name in refused else "right" for name in ("cpu", "cuda", "trt")})
    tried, choice = choose("auto")
    taken = next(name for name in ("trt", "cuda", "cpu") if name not in refused)
    assert choice.device == taken
    assert tried == ["trt", "cuda", "cpu"][: len(tried)]
    assert [(model, options["device"]) for model, options in fake_backends.opened] == [(taken.encode(), taken)]
    for device in tried[:-1]:
        assert f"{device} is unavailable (no such hardware;" in choice.reason
    assert "\n" not in choice.reason
    assert f"{taken} is" not in choice.reason


def test_auto_with_nothing_that_works_names_every_reason(devices: Callable[..., None]) -> None:
    devices(trt="refused", cuda="refused", cpu="refused")
    with pytest.raises(BackendError, match=r"no device is available: trt is unavail.*cuda is unavail.*cpu is unavail"):
        choose("auto")


def test_auto_does_not_hide_bugs(devices: Callable[..., None]) -> None:
    devices(trt="bug")
    with pytest.raises(ZeroDivisionError):
        choose("auto")


def test_an_unknown_device_is_refused_before_anything_is_read() -> None:
    def unreadable(device: str) -> bytes:
        raise AssertionError

    with pytest.raises(BackendError, match="device is 'tpu', expected one of cpu, cuda, trt, auto"):
        choose_backend(unreadable, device="tpu")
    with pytest.raises(BackendError, match=r"device is 'auto', expected one of cpu, cuda, trt$"):
        open_backend(b"", device="auto")


def test_trt_goes_to_the_tensorrt_backend_with_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("sal_runtime.engines.tensorrt.backend")
    given: list[tuple[bytes, str]] = []

    def open_tensorrt_backend(model: bytes, *, device: str, precision: str, threads: int | None) -> Backend:
        given.append((model, precision))
        return FakeBackend()

    module.open_tensorrt_backend = open_tensorrt_backend  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert isinstance(open_backend(b"graph", device="trt", precision="fp16", threads=3), FakeBackend)
    assert given == [(b"graph", "fp16")]


def test_a_further_device_is_one_entry(devices: Callable[..., None]) -> None:
    """As docs/devices.md describes it."""
    devices(openvino="right")
    assert isinstance(open_backend(b"graph", device="openvino", precision="int8", threads=2), FakeBackend)
    assert fake_backends.opened == [(b"graph", {"device": "openvino", "precision": "int8", "threads": 2})]


def test_an_image_encoder_says_where_it_runs(bundle: Bundle, devices: Callable[..., None]) -> None:
    devices(trt="refused", cuda="refused")
    assert ImageEncoder(bundle).choice == DeviceChoice("cpu", "requested")
    chosen = ImageEncoder(bundle, device="auto")
    assert chosen.choice.device == "cpu"
    assert chosen.choice.reason.count("no such hardware") == 2
    assert np.allclose(chosen.encode(IMAGES), embed_image(IMAGES), atol=1e-6)
    with pytest.raises(BackendError, match="no such hardware"):
        ImageEncoder(bundle, device="trt")


def test_each_device_gets_the_file_that_is_meant_for_it(tmp_path: Path, devices: Callable[..., None]) -> None:
    bundle = make_varied_bundle(tmp_path / "varied", precisions=("int8",))
    for artefact in bundle.manifest["artefacts"]:
        if artefact["precision"] == "int8":
            artefact["devices"] = ["trt"]
    bundle = open_bundle_again(bundle)
    devices(trt="right", cuda="right")
    assert ImageEncoder(bundle, device="auto", precision="int8").choice.device == "trt"
    ((model, options),) = fake_backends.opened
    assert (model, options["precision"]) == (bundle.read_bytes("image_encoder.int8.onnx"), "int8")
    with pytest.raises(BundleError, match="no image_encoder in int8 for cuda"):
        ImageEncoder(bundle, device="cuda", precision="int8")
    devices(trt="refused")
    with pytest.raises(BackendError, match=r"no such hardware.*no image_encoder in int8 for cpu"):
        ImageEncoder(bundle, device="auto", precision="int8")


def open_bundle_again(bundle: Bundle) -> Bundle:
    """As if its manifest had been written like this."""
    from sal_export.bundle_writing import write_bundle

    files = {file: bundle.read_bytes(file) for file in bundle.manifest["files"]}
    return write_bundle(bundle.path, bundle.manifest, files)


def test_encoders_of_galleries_are_opened_when_needed_and_cut_batches_on_the_cpu_only(
    bundle: Bundle, devices: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    encode = ImageEncoder.encode

    def recorded(self: ImageEncoder, images: Array) -> Array:
        sizes.append(self.batch_size)
        return encode(self, images)

    monkeypatch.setattr(ImageEncoder, "encode", recorded)
    devices(trt="right", cuda="refused")
    for device, taken, batch_size in (("trt", "trt", 32), ("auto", "trt", 32), ("cpu", "cpu", CPU_BATCH_SIZE)):
        encoder = LazyImageEncoder(bundle, device=device)
        before = encoder.choice
        assert np.allclose(encoder(IMAGES), embed_image(IMAGES), atol=1e-6)
        after = encoder.choice
        assert (before, after and after.device, sizes.pop()) == (None, taken, batch_size)
    refused = LazyImageEncoder(bundle, device="cuda")
    with pytest.raises(BackendError, match="no such hardware"):
        refused(IMAGES)


def test_a_search_says_where_images_were_encoded(bundle: Bundle, devices: Callable[..., None], tmp_path: Path) -> None:
    devices(trt="refused", cuda="right")
    folder = make_folder(tmp_path / "crops")
    first = search(folder, "male", bundle=bundle, device="auto")
    assert first.device is not None
    assert first.device.device == "cuda"
    assert first.to_json()["device"]["reason"].startswith("trt is unavailable (no such hardware")
    again = search(folder, "male", bundle=bundle, device="auto")
    assert again.device is None
    assert again.to_json()["device"] is None


X86 = """\
processor\t: 0
model name\t: Made-up Processor
flags\t\t: fpu sse2 avx2 avx512f avx512_vnni
processor\t: 1
flags\t\t: fpu sse2 avx2 avx512f avx512_vnni
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp sve\nCPU implementer\t: 0x41\n"


def test_instruction_sets_for_int8() -> None:
    assert int8_instructions(X86) == {"avx2": True, "avx_vnni": False, "avx512_vnni": True, "amx_int8": False}
    assert int8_instructions(ARM) == {"asimddp": True, "i8mm": False}
    assert int8_instructions("") == {}
    assert set(int8_instructions().values()) <= {True, False}


@pytest.mark.parametrize(
    ("script", "gpus", "problem"),
    [
        (
            "echo 'NVIDIA RTX A2000, 570.86.15, 6138 MiB, 8.6'; echo 'NVIDIA L4, 570.86.15, 23034 MiB, 8.9'",
            (
                Gpu("NVIDIA RTX A2000", "570.86.15", "6138 MiB", "8.6"),
                Gpu("NVIDIA L4", "570.86.15", "23034 MiB", "8.9"),
            ),
            "",
        ),
        ('echo "couldn\'t talk to the driver"; echo more; exit 9', (), "nvidia-smi says: couldn't talk to the driver"),
        ("exit 6", (), "nvidia-smi says: exit code 6"),
        ("true", (), "nvidia-smi lists none"),
    ],
)
def test_gpus_are_those_of_nvidia_smi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, gpus: tuple[Gpu, ...], problem: str
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert find_gpus() == (gpus, problem)


def test_no_nvidia_smi_and_one_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_gpus() == ((), "nvidia-smi is not installed")
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexec /bin/sleep 600\n")
    program.chmod(0o755)
    found, problem = find_gpus(timeout=0.1)
    assert found == ()
    assert "timed out" in problem


def test_both_wheels_of_onnx_runtime_are_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The packages are found as pip leaves them behind."""
    for name, version in (("onnxruntime", "9.1"), ("onnxruntime_gpu", "9.2")):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert wheels_conflict().startswith("onnxruntime 9.1 and onnxruntime-gpu 9.2 are both installed")
    assert "pip uninstall onnxruntime onnxruntime-gpu" in wheels_conflict()
    monkeypatch.setattr("sal_runtime.engines.installed.installed_version", {"onnxruntime": "9.1"}.get)
    assert wheels_conflict() == ""


def test_every_opener_can_be_found() -> None:
    for entry in DEVICE_ENTRIES.values():
        module, _, name = entry.opener.partition(":")
        assert callable(getattr(import_module(module), name))
