"""No device but the one asked for, `auto` in its order and with its reasons, and what the machine has."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.doctor import machine as devices
from sal_runtime.doctor.machine import Gpu, find_gpus, int8_instructions
from sal_runtime.encoding.encoders import CPU_BATCH_SIZE, ImageEncoder, image_encoder
from sal_runtime.engines import devices as backends
from sal_runtime.engines.devices import DEVICES, ENGINES, Backend, DeviceChoice, Engine, choose_backend, open_backend
from sal_runtime.engines.installed import wheels_conflict
from sal_runtime.errors import BackendError, BundleError
from sal_runtime.matching.open_and_ask import search
from tests.runtime import fake_engines
from tests.runtime.fake_engines import FakeBackend
from tests.runtime.gallery_images import make_folder
from tests.runtime.tiny_bundle import SPEC, embed_image, make_tiny_bundle
from tests.runtime.varied_bundle import make_varied_bundle

Array = np.ndarray
FAKES = "tests.runtime.fake_engines"
IMAGES = np.random.default_rng(0).integers(0, 256, (5, SPEC.height, SPEC.width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(make_tiny_bundle(tmp_path_factory.mktemp("devices") / "tiny"))


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replaces engines by those of fake_engines: `engines(trt="right", cuda="refused")`."""
    monkeypatch.setattr(fake_engines, "opened", [])

    def replace(**by_device: str) -> None:
        for device, kind in by_device.items():
            monkeypatch.setitem(ENGINES, device, Engine(f"{FAKES}:open_{kind}", ENGINES[device].extra))

    return replace


def refusing(*refused: str) -> tuple[list[str], Callable[[str], Backend]]:
    """A list of what is tried, and what opens every device but these."""
    tried: list[str] = []

    def open_on(device: str) -> Backend:
        tried.append(device)
        if device in refused:
            raise BackendError(f"{device} is broken")
        return FakeBackend()

    return tried, open_on


@pytest.mark.parametrize("device", ["cpu", "cuda", "trt"])
def test_a_device_that_cannot_be_had_is_an_error_and_nothing_else_is_tried(device: str) -> None:
    tried, open_on = refusing(device)
    with pytest.raises(BackendError, match=f"{device} is broken"):
        choose_backend(device, open_on)
    assert tried == [device]


@pytest.mark.parametrize(
    ("refused", "taken"), [((), "trt"), (("trt",), "cuda"), (("trt", "cuda"), "cpu"), (("cuda",), "trt")]
)
def test_auto_takes_the_first_that_opens_and_says_why_not_the_others(refused: tuple[str, ...], taken: str) -> None:
    tried, open_on = refusing(*refused)
    _, choice = choose_backend("auto", open_on)
    assert choice.device == taken
    assert tried == ["trt", "cuda", "cpu"][: len(tried)]
    for device in tried[:-1]:
        assert f"{device} cannot be had ({device} is broken)" in choice.reason
    assert "\n" not in choice.reason
    assert f"{taken} cannot" not in choice.reason


def test_auto_with_nothing_that_works_names_every_reason() -> None:
    _, open_on = refusing("trt", "cuda", "cpu")
    with pytest.raises(BackendError, match=r"trt is broken.*cuda is broken.*cpu is broken"):
        choose_backend("auto", open_on)


def test_auto_does_not_hide_bugs() -> None:
    def open_on(device: str) -> Backend:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        choose_backend("auto", open_on)


def test_trt_goes_to_the_tensorrt_backend_with_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("sal_runtime.engines.tensorrt.backend")
    given: list[tuple[bytes, str]] = []

    def open_tensorrt_backend(model: bytes, precision: str) -> Backend:
        given.append((model, precision))
        return FakeBackend()

    module.open_tensorrt_backend = open_tensorrt_backend  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert isinstance(open_backend(b"graph", "trt", threads=3, precision="fp16"), FakeBackend)
    assert given == [(b"graph", "fp16")]


def test_a_further_engine_is_one_entry(monkeypatch: pytest.MonkeyPatch, engines: Callable[..., None]) -> None:
    """As docs/devices.md describes it; one that computes on the CPU is given the number of threads."""
    monkeypatch.setitem(ENGINES, "openvino", Engine(f"{FAKES}:open_on_cpu", "openvino", on_cpu=True))
    monkeypatch.setattr(backends, "DEVICES", (*DEVICES, "openvino"))
    assert isinstance(open_backend(b"graph", "openvino", threads=2, precision="int8"), FakeBackend)
    assert fake_engines.opened == [(b"graph", "int8 with 2 threads")]


def test_an_image_encoder_says_where_it_runs(bundle: Bundle, engines: Callable[..., None]) -> None:
    engines(trt="refused", cuda="refused")
    assert ImageEncoder(bundle).choice == DeviceChoice("cpu", "asked for")
    chosen = ImageEncoder(bundle, "auto")
    assert chosen.choice.device == "cpu"
    assert chosen.choice.reason.count("no such hardware") == 2
    assert np.allclose(chosen.encode(IMAGES), embed_image(IMAGES), atol=1e-6)
    with pytest.raises(BackendError, match="no such hardware"):
        ImageEncoder(bundle, "trt")


def test_each_device_gets_the_file_that_is_meant_for_it(tmp_path: Path, engines: Callable[..., None]) -> None:
    bundle = make_varied_bundle(tmp_path / "varied", precisions=("int8",))
    for artefact in bundle.manifest["artefacts"]:
        if artefact["precision"] == "int8":
            artefact["devices"] = ["trt"]
    bundle = open_bundle_again(bundle)
    engines(trt="right", cuda="right")
    assert ImageEncoder(bundle, "auto", "int8").choice.device == "trt"
    assert fake_engines.opened == [(bundle.read_bytes("image_encoder.int8.onnx"), "int8")]
    with pytest.raises(BundleError, match="no image_encoder in int8 for cuda"):
        ImageEncoder(bundle, "cuda", "int8")
    engines(trt="refused")
    with pytest.raises(BackendError, match=r"no such hardware.*no image_encoder in int8 for cpu"):
        ImageEncoder(bundle, "auto", "int8")


def open_bundle_again(bundle: Bundle) -> Bundle:
    """As if its manifest had been written like this."""
    from sal_runtime.bundle.writing import write_bundle

    files = {file: bundle.read_bytes(file) for file in bundle.manifest["files"]}
    return write_bundle(bundle.path, bundle.manifest, files)


def test_encoders_of_galleries_are_opened_when_needed_and_cut_batches_on_the_cpu_only(
    bundle: Bundle, engines: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    encode = ImageEncoder.encode

    def recorded(self: ImageEncoder, images: Array) -> Array:
        sizes.append(self.batch_size)
        return encode(self, images)

    monkeypatch.setattr(ImageEncoder, "encode", recorded)
    engines(trt="right", cuda="refused")
    for device, taken, batch_size in (("trt", "trt", 32), ("auto", "trt", 32), ("cpu", "cpu", CPU_BATCH_SIZE)):
        encoder = image_encoder(bundle, device)
        before = encoder.choice
        assert np.allclose(encoder(IMAGES), embed_image(IMAGES), atol=1e-6)
        after = encoder.choice
        assert (before, after and after.device, sizes.pop()) == (None, taken, batch_size)
    refused = image_encoder(bundle, "cuda")
    with pytest.raises(BackendError, match="no such hardware"):
        refused(IMAGES)


def test_a_search_says_where_images_were_encoded(bundle: Bundle, engines: Callable[..., None], tmp_path: Path) -> None:
    engines(trt="refused", cuda="right")
    folder = make_folder(tmp_path / "crops")
    first = search(bundle, folder, "male", device="auto")
    assert first.device is not None
    assert first.device.device == "cuda"
    assert first.to_json()["device"]["reason"].startswith("trt cannot be had (no such hardware")
    again = search(bundle, folder, "male", device="auto")
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
    monkeypatch.setattr(devices, "NVIDIA_SMI_SECONDS", 0.1)
    found, problem = find_gpus()
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


def test_every_engine_can_be_found() -> None:
    from importlib import import_module

    for engine in backends.ENGINES.values():
        module, _, function = engine.opener.partition(":")
        assert callable(getattr(import_module(module), function))
