"""The doctor: what works is proven with golden vectors, what does not has its reason, and it never falls over."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sal_cli.manage import update_gallery
from sal_cli.show.doctor import report_lines
from sal_export.bundle_writing import write_bundle
from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.bundle.shipped import default_bundle_path
from sal_runtime.doctor.doctor import DeviceCheck, DoctorReport, PlaceCheck, check_cache, examine
from sal_runtime.doctor.machine import Gpu, cpu_name
from sal_runtime.engines.devices import DEVICE_ENTRIES, DeviceEntry
from tests.runtime.gallery_images import make_folder
from tests.runtime.tiny_bundle import make_tiny_bundle
from tests.runtime.varied_bundle import make_varied_bundle

FAKES = "tests.runtime.fake_backends"
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("doctor") / "tiny")


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replaces devices by those of fake_backends: `devices(trt="right", cuda="refused")`; both refuse at first."""

    def replace(**by_device: str) -> None:
        for device, kind in by_device.items():
            entry = DeviceEntry(f"{FAKES}:open_{kind}", DEVICE_ENTRIES[device].extra)
            monkeypatch.setitem(DEVICE_ENTRIES, device, entry)

    replace(trt="refused", cuda="refused")
    return replace


def device_of(report: DoctorReport, name: str) -> DeviceCheck:
    return next(device for device in report.devices if device.device == name)


def check_shown(report: DoctorReport, *words: str) -> None:
    """It fits into 80 columns, its JSON is valid, and it says these words in a line."""
    lines = report_lines(report, {})
    assert max(len(line) for line in lines if "/" not in line) <= 80  # paths are whole
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["ok"] is report.ok
    text = " ".join(" ".join(lines).split())
    for word in words:
        assert word in text


def test_where_everything_is_well(tiny: Path, devices: Callable[..., None]) -> None:
    pytest.importorskip("onnxruntime")
    report = examine(tiny)
    assert report.ok
    assert report.bundle.whole
    assert report.bundle.fingerprint == open_bundle(tiny).fingerprint
    cpu = device_of(report, "cpu")
    assert cpu.works
    assert {encoder.role for encoder in cpu.encoders} == {"image_encoder", "attribute_encoder"}
    for encoder in cpu.encoders:
        assert encoder.max_abs is not None
        assert encoder.min_cosine is not None
        assert encoder.max_abs < 1e-5
        assert encoder.min_cosine > 0.99999
    for name in ("cuda", "trt"):
        refused = device_of(report, name)
        assert not refused.works
        assert refused.problem == 'no such hardware; in the checkout of sal: `pip install ".[made-up]"`'
        assert refused.extra == {"cuda": "gpu", "trt": "trt"}[name]
        assert refused.encoders == ()  # the one reason is told once
    check_shown(report, "cpu yes", "cuda no no such hardware", "tiny in fp32; whole")
    assert report_lines(report, {})[0] == "ready: cpu works; 2 devices not usable"


@pytest.mark.parametrize(("asked", "ok"), [("cpu", True), ("cuda", False), ("trt", True), ("auto", True)])
def test_the_device_that_is_asked_for_decides(tiny: Path, devices: Callable[..., None], asked: str, ok: bool) -> None:
    pytest.importorskip("onnxruntime")
    devices(trt="right")
    report = examine(tiny, asked)
    assert report.ok is ok
    assert device_of(report, "trt").works
    check_shown(
        report,
        "trt yes image fp32",
        "ready: cpu and trt work; 1 device" if ok else "not ready: cuda does not work; cpu and trt work",
    )


def test_a_device_that_computes_something_else_does_not_work(tiny: Path, devices: Callable[..., None]) -> None:
    devices(cuda="wrong", trt="nan")
    report = examine(tiny, "cuda")
    assert not report.ok
    cuda = device_of(report, "cuda")
    assert not cuda.works
    assert cuda.encoders[0].max_abs == pytest.approx(0.5, abs=1e-5)
    assert (
        "image_encoder.onnx does not reproduce the golden embeddings: expected a difference of at most" in cuda.problem
    )
    assert not device_of(report, "trt").works
    (encoder,) = report.to_json()["devices"][2]["encoders"]
    assert (encoder["max_abs"], encoder["min_cosine"]) == (None, None)
    check_shown(report, "cuda no image fp32 5.0e-01", "nan")


def test_every_precision_is_tried_and_only_where_it_is_meant_for(tmp_path: Path, devices: Callable[..., None]) -> None:
    pytest.importorskip("onnxruntime")
    bundle = make_varied_bundle(tmp_path / "varied", precisions=("fp16", "int8"))
    for artefact in bundle.manifest["artefacts"]:
        if artefact["precision"] == "int8":
            artefact["devices"] = ["trt"]
    write_bundle(bundle.path, bundle.manifest, {file: bundle.read_bytes(file) for file in bundle.manifest["files"]})
    devices(trt="right", cuda="right")
    report = examine(bundle.path)
    assert report.ok
    tried = {
        device.device: [encoder.precision for encoder in device.encoders if encoder.role == "image_encoder"]
        for device in report.devices
    }
    assert tried == {"cpu": ["fp32", "fp16"], "cuda": ["fp32", "fp16"], "trt": ["fp32", "fp16", "int8"]}
    check_shown(report, "tiny in fp32, fp16, int8; whole")


def rewrite(folder: Path, files: dict[str, bytes]) -> None:
    """Put other content into files of a bundle, as an export would."""
    bundle = open_bundle(folder)
    content = {file: bundle.read_bytes(file) for file in bundle.manifest["files"]}
    write_bundle(folder, bundle.manifest, content | files)


def test_a_damaged_bundle_is_named_and_the_devices_are_tried_with_the_shipped_one(
    tmp_path: Path, devices: Callable[..., None]
) -> None:
    pytest.importorskip("onnxruntime")
    folder = make_tiny_bundle(tmp_path / "tiny")
    damaged = bytearray((folder / "heads.npz").read_bytes())
    damaged[10] ^= 1
    (folder / "heads.npz").write_bytes(damaged)
    report = examine(folder)
    assert not report.ok
    assert not report.bundle.whole
    assert "heads.npz has sha256" in report.bundle.problem
    assert report.tried_with == str(default_bundle_path())
    assert device_of(report, "cpu").works
    check_shown(
        report, "heads.npz has sha256", "the devices were tried with", "not ready: the bundle is not whole; cpu works"
    )


def test_no_bundle_at_all(tmp_path: Path, devices: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sal_runtime.doctor.doctor.default_bundle_path", lambda: tmp_path / "nothing")
    report = examine(tmp_path / "missing")
    assert not report.ok
    assert report.tried_with is None
    assert all("not tried" in device.problem for device in report.devices)
    check_shown(
        report,
        "no such directory",
        "cpu no not tried",
        "not ready: the bundle is not whole, cpu does not work; no device works",
    )


def test_a_bundle_without_golden_vectors_is_not_whole(tmp_path: Path, devices: Callable[..., None]) -> None:
    folder = make_tiny_bundle(tmp_path / "tiny")
    rewrite(folder, {"golden.npz": b"not arrays"})
    assert "golden.npz cannot be read" in examine(folder).bundle.problem
    rewrite(folder, {"golden.npz": (folder / "heads.npz").read_bytes()})
    report = examine(folder)
    assert not report.bundle.whole
    check_shown(report, "golden.npz lacks attribute_embeddings, attributes, image_embeddings, images; export it again")


def test_what_is_missing_is_said_with_what_to_install(
    tiny: Path, devices: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "cv2", None)
    report = examine(tiny)
    assert not report.ok
    assert (
        device_of(report, "cpu").problem
        == 'ONNX Runtime is not installed; in the checkout of sal: `pip install ".[cpu]"`'
    )
    check_shown(
        report, "cpu no ONNX Runtime is not installed", "problem images cannot be decoded, OpenCV does not load"
    )


def test_images_that_cannot_be_decoded_are_reason_enough(
    tiny: Path, devices: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setitem(sys.modules, "cv2", None)
    report = examine(tiny)
    assert device_of(report, "cpu").works
    assert not report.ok
    check_shown(report, "not ready: images cannot be decoded; cpu works")


def test_a_bug_in_a_backend_is_a_line_in_the_report(tiny: Path, devices: Callable[..., None]) -> None:
    devices(trt="broken")
    trt = device_of(examine(tiny), "trt")
    assert trt.problem == "MemoryError: driver bug"


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "not yet" / "there"))
    assert check_cache() == PlaceCheck(str(tmp_path / "not yet" / "there" / "sal"), True, "")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    found = check_cache()
    assert not found.works
    assert "set XDG_CACHE_HOME" in found.problem


def test_the_gallery_that_is_named(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    place = tmp_path / "yard.sal"
    report = examine(tiny, gallery=place)
    assert not report.ok
    check_shown(report, "not ready: the gallery cannot be used; cpu works", "no such gallery file")
    update_gallery(place, [make_folder(tmp_path / "crops")], tiny, "cpu")
    report = examine(tiny, gallery=place)
    assert report.ok
    check_shown(report, "ready: cpu works", "yard.sal: 6 images, can be read and written")
    other = make_tiny_bundle(tmp_path / "other", "other", seed=1)
    check_shown(examine(other, gallery=place), "not ready: the gallery", "made by bundle tiny, not by other")
    place.write_bytes(b"no gallery")
    assert not examine(tiny, gallery=place).ok


def test_a_gallery_is_checked_with_the_bundle_that_made_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.delenv("SAL_BUNDLE", raising=False)
    bundle = make_tiny_bundle(tmp_path / "mine")
    place = make_folder(tmp_path / "crops")
    update_gallery(place, [], bundle, "cpu")
    report = examine(gallery=place)
    assert report.ok
    assert report.bundle.path == str(bundle)


class OldOnnxRuntime(ModuleType):
    """The installed ONNX Runtime, less what came with 1.24."""

    def __init__(self, real: Any) -> None:
        super().__init__("onnxruntime")
        self.__version__ = real.__version__
        self.SessionOptions, self.get_available_providers = real.SessionOptions, real.get_available_providers

        class Session:
            def __init__(self, *arguments: Any, **options: Any) -> None:
                self.session = real.InferenceSession(*arguments, **options)
                for name in ("get_providers", "get_inputs", "get_outputs", "run"):
                    setattr(self, name, getattr(self.session, name))

        self.InferenceSession = Session


def test_where_placement_cannot_be_proven_it_says_so(
    tiny: Path, devices: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pytest.importorskip("onnxruntime")
    monkeypatch.setitem(sys.modules, "onnxruntime", OldOnnxRuntime(real))
    report = examine(tiny)
    assert report.ok
    assert all(encoder.placement is None for encoder in device_of(report, "cpu").encoders)
    check_shown(
        report, "not provable", "problem this version of ONNX Runtime does not prove where the nodes of a graph ran"
    )


def test_both_wheels_and_gpus_are_shown(
    tiny: Path, devices: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Gpu("NVIDIA L4", "570.86.15", "23034 MiB", "8.9")
    monkeypatch.setattr("sal_runtime.doctor.doctor.find_gpus", lambda: ((gpu,), ""))
    monkeypatch.setattr("sal_runtime.engines.installed.installed_version", lambda wheel: "9.9")
    report = examine(tiny)
    assert report.to_json()["gpus"][0]["compute_capability"] == "8.9"
    check_shown(report, "NVIDIA L4, 23034 MiB, compute capability 8.9", "both installed and have overwritten")


def test_the_doctor_does_not_load_torch(tiny: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sal_runtime.doctor.doctor import examine; "
        "examine(Path(sys.argv[1])); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny)], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"cpuinfo": "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n"}, "Some CPU @ 2 GHz"),
        ({"cpuinfo": "processor\t: 0\nCPU part\t: 0xd42\n", "device-tree/model": "A Board\0"}, "A Board"),
        ({"cpuinfo": "processor\t: 0\n"}, platform.processor() or platform.machine()),
    ],
)
def test_a_processor_is_named_by_itself_by_its_board_or_by_its_architecture(
    tmp_path: Path, files: dict[str, str], name: str
) -> None:
    (tmp_path / "device-tree").mkdir()
    for file, content in files.items():
        (tmp_path / file).write_text(content)
    assert cpu_name(tmp_path) == name
