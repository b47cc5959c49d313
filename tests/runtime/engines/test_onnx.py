"""ONNX Runtime is not believed: not where nodes run, not that the device it names is the one it uses."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from sal_runtime.doctor.machine import find_gpus
from sal_runtime.engines.devices import open_backend
from sal_runtime.engines.installed import installed_version
from sal_runtime.engines.int8_products import SATURATING_MODEL
from sal_runtime.engines.onnx import (
    AssignedNode,
    OnnxBackend,
    check_placement,
    open_session,
    run_on_device,
    to_device,
)
from sal_runtime.errors import BackendError
from tests.runtime.tiny_bundle import SPEC, embed_image, make_tiny_bundle

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
IMAGES = np.random.default_rng(1).integers(0, 256, (7, SPEC.height, SPEC.width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return (make_tiny_bundle(tmp_path_factory.mktemp("onnx") / "tiny") / "image_encoder.onnx").read_bytes()


def test_on_the_cpu_every_node_is_accounted_for(model: bytes, tmp_path: Path) -> None:
    """As many as ONNX Runtime writes down when it has simplified a graph, which comes before it places the nodes."""
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "simplified.onnx")
    onnxruntime.InferenceSession(model, options, providers=[CPU])
    num_nodes = len(onnx.load(tmp_path / "simplified.onnx").graph.node)
    backend = OnnxBackend(model, threads=1)
    assert np.allclose(backend.run(IMAGES), embed_image(IMAGES), atol=1e-6)
    if hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info"):
        assert backend.placement == {CPU: num_nodes}
    else:
        assert backend.placement is None


def test_a_run_with_bound_memory_gives_the_same(model: bytes) -> None:
    """The way of CUDA, on memory of the CPU; also for a batch that does not lie in one piece."""
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(model, providers=[CPU])
    for images in (IMAGES, IMAGES[::-2, :, ::-1]):
        (found,) = run_on_device(session, {"images": to_device(images, "cpu")}, "cpu")
        assert np.allclose(found, embed_image(np.ascontiguousarray(images)), atol=1e-6)


def nodes(*placed: tuple[str, str]) -> list[AssignedNode]:
    return [AssignedNode(operation, f"node_{number}", provider) for number, (operation, provider) in enumerate(placed)]


@pytest.mark.parametrize(
    "placed",
    [
        [("Conv", CUDA), ("Gemm", CUDA)],
        [("Shape", CUDA), ("Concat", CPU), ("Expand", CUDA)],
        [("Shape", CPU), ("Gather", CPU), ("Unsqueeze", CPU), ("Conv", CUDA)],
    ],
)
def test_only_shape_arithmetic_may_stay_on_the_cpu(placed: list[tuple[str, str]]) -> None:
    check_placement(nodes(*placed), CUDA)


@pytest.mark.parametrize(
    ("placed", "message"),
    [
        ([("Conv", CPU), ("Gemm", CUDA)], "1 of 2 nodes elsewhere: Conv node_0 on CPUExecutionProvider;"),
        ([("Cast", CPU), ("Conv", CUDA)], "Cast node_0"),
        ([("Shape", "TensorrtExecutionProvider"), ("Conv", CUDA)], "Shape node_0 on TensorrtExecutionProvider"),
        ([("Conv", CPU)] * 9, r"9 of 9 nodes .*node_2 on CPUExecutionProvider, \.\.\.;"),
        ([("Shape", CPU), ("Concat", CPU)], "runs no node of the graph there"),
        ([], "runs no node of the graph there"),
    ],
)
def test_anything_else_that_runs_elsewhere_is_refused(placed: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(BackendError, match=message):
        check_placement(nodes(*placed), CUDA)


class FakeOnnxRuntime(ModuleType):
    """The GPU wheel as it behaves: it lists CUDA whether it can be had or not, and prints on stdout.

    Args:
        placed: operation and provider of each node.
        took: providers of the session it gives, whatever was asked for.
        tells: whether this version can tell where nodes run.
    """

    def __init__(
        self, placed: Sequence[tuple[str, str]] = (), took: Sequence[str] = (CUDA, CPU), tells: bool = True
    ) -> None:
        super().__init__("onnxruntime")
        self.__version__ = "1.99.0"
        self.__file__ = "/nowhere/onnxruntime/__init__.py"
        self.config: dict[str, str] = {}
        self.asked: dict[str, Any] = {}
        self.severities: list[int] = []
        self.reports = 0
        module = self

        class Session:
            def __init__(self, model: bytes, options: Any, **asked: Any) -> None:
                module.asked = asked

            def get_providers(self) -> list[str]:
                return list(took)

            def get_inputs(self) -> list[Any]:
                return [SimpleNamespace(name="images")]

            get_outputs = get_inputs

        def parts(self: Session) -> list[Any]:
            module.reports += 1
            return [
                SimpleNamespace(
                    ep_name=provider, get_nodes=lambda name=operation: [SimpleNamespace(op_type=name, name="node")]
                )
                for operation, provider in placed
            ]

        if tells:
            Session.get_provider_graph_assignment_info = parts  # type: ignore[attr-defined]
        self.InferenceSession = Session

    def SessionOptions(self) -> Any:  # noqa: N802 - their name
        return SimpleNamespace(add_session_config_entry=self.config.__setitem__)

    def get_available_providers(self) -> list[str]:
        return [CUDA, CPU]

    def preload_dlls(self) -> None:
        print("Failed to load libcublasLt.so")

    def set_default_logger_severity(self, severity: int) -> None:
        self.severities.append(severity)


def install(monkeypatch: pytest.MonkeyPatch, module: ModuleType | None) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", module)


def test_cuda_is_asked_for_strictly_and_proven(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeOnnxRuntime([("Conv", CUDA), ("Shape", CUDA), ("Concat", CPU)])
    install(monkeypatch, fake)
    backend = open_backend(b"", device="cuda")
    assert (backend.device, fake.reports) == ("cuda", 1)
    assert getattr(backend, "placement", None) == {CUDA: 2, CPU: 1}
    assert fake.asked == {"providers": [(CUDA, {"use_tf32": "0"})], "enable_fallback": 0}
    assert fake.config["session.record_ep_graph_assignment_info"] == "1"
    assert fake.severities == [4, 2]
    assert capsys.readouterr() == ("", "")


def test_opening_a_session_reads_no_package_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is only needed for the text of an error."""
    install(monkeypatch, FakeOnnxRuntime([("Conv", CUDA)]))
    asked: list[str] = []
    monkeypatch.setattr("sal_runtime.engines.installed.installed_version", asked.append)
    open_backend(b"", device="cuda")
    assert asked == []


def test_a_session_on_the_cpu_in_place_of_cuda_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeOnnxRuntime([("Conv", CPU)], took=[CPU]))
    with pytest.raises(BackendError, match=r"cannot start CUDA \(.*cannot open shared object file.*onnxruntime-gpu\["):
        open_backend(b"", device="cuda")


def test_a_graph_partly_on_the_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeOnnxRuntime([("Conv", CUDA), ("Conv", CPU)]))
    with pytest.raises(BackendError, match="1 of 2 nodes elsewhere"):
        open_backend(b"", device="cuda")


def test_a_version_that_cannot_tell_must_refuse_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeOnnxRuntime(tells=False)
    install(monkeypatch, fake)
    assert getattr(open_backend(b"", device="cuda"), "placement", "missing") is None
    assert fake.config["session.disable_cpu_ep_fallback"] == "1"


def test_no_onnx_runtime_and_half_of_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, None)
    with pytest.raises(BackendError, match=r'not installed; in the checkout of sal: `pip install "\.\[cpu\]"`'):
        open_backend(b"")
    with pytest.raises(BackendError, match=r'not installed; in the checkout of sal: `pip install "\.\[gpu\]"`'):
        open_backend(b"", device="cuda")
    install(monkeypatch, ModuleType("onnxruntime"))
    with pytest.raises(BackendError, match=r"damaged.*pip uninstall onnxruntime onnxruntime-gpu"):
        open_backend(b"")
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").write_text("raise ImportError('libsomething.so.1: not found')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime")
    with pytest.raises(BackendError, match=r"cannot be imported \(libsomething\.so\.1: not found\)"):
        open_backend(b"")


def test_both_wheels_are_named_where_cuda_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeOnnxRuntime()
    monkeypatch.setattr(fake, "get_available_providers", lambda: [CPU])
    install(monkeypatch, fake)
    with pytest.raises(
        BackendError, match=r'has no CUDAExecutionProvider; in .*: `pip uninstall onnxruntime && pip install "'
    ):
        open_backend(b"", device="cuda")
    monkeypatch.setattr("sal_runtime.engines.installed.installed_version", lambda wheel: "9.9")
    with pytest.raises(BackendError, match=r"onnxruntime 9\.9 and onnxruntime-gpu 9\.9 are both installed"):
        open_backend(b"", device="cuda")


@pytest.mark.gpu
def test_on_cuda_everything_runs_there_and_gives_the_same(model: bytes) -> None:
    if installed_version("onnxruntime-gpu") is None or not find_gpus()[0]:
        pytest.skip("needs onnxruntime-gpu and an NVIDIA GPU")
    backend = OnnxBackend(model, device="cuda")
    assert backend.placement is None or CUDA in backend.placement
    for images in (IMAGES, IMAGES[:1], IMAGES[::-2, :, ::-1]):
        assert np.allclose(backend.run(images), embed_image(np.ascontiguousarray(images)), atol=1e-5)


def saturating_model() -> bytes:
    """One quantised convolution of 8 x 8 pixels by ones: 64 products of up to 255 * 127."""
    values = {
        "one": np.float32(1),
        "no_offset": np.uint8(0),
        "weights": np.full((1, 64, 1, 1), 127, np.int8),
        "weight_scale": np.ones(1, np.float32),
        "weight_offset": np.zeros(1, np.int8),
        "out_scale": np.float32(64 * 127),
    }
    nodes = [
        onnx.helper.make_node("DequantizeLinear", ["images", "one", "no_offset"], ["x"]),
        onnx.helper.make_node("DequantizeLinear", ["weights", "weight_scale", "weight_offset"], ["w"], axis=0),
        onnx.helper.make_node("Conv", ["x", "w"], ["sum"]),
        onnx.helper.make_node("QuantizeLinear", ["sum", "out_scale", "no_offset"], ["means"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "saturating",
        [onnx.helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["n", 64, 4, 4])],
        [onnx.helper.make_tensor_value_info("means", onnx.TensorProto.UINT8, ["n", 1, 4, 4])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    opset = onnx.helper.make_opsetid("", 17)
    return bytes(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString())


def test_the_saturating_model_is_what_it_says() -> None:
    assert SATURATING_MODEL.read_bytes() == saturating_model()


@pytest.mark.parametrize("saturates", [True, False])
@pytest.mark.parametrize(("model", "quantised"), [(b"QuantizeLinear", True), (b"Conv", False)])
def test_slower_products_are_asked_for_only_where_the_fast_ones_saturate(
    monkeypatch: pytest.MonkeyPatch, saturates: bool, model: bytes, quantised: bool
) -> None:
    fake = FakeOnnxRuntime([("Conv", CPU)], took=(CPU,))
    install(monkeypatch, fake)
    monkeypatch.setattr("sal_runtime.engines.int8_products.int8_saturates", lambda: saturates)
    open_session(model, device="cpu")
    assert fake.config.get("session.x64quantprecision") == ("1" if saturates and quantised else None)


SATURATING_PROGRAM = """
import shutil
import subprocess
import sys
import numpy as np
from sal_runtime.engines.onnx import open_session
session = open_session(open(sys.argv[1], "rb").read(), device="cpu", threads=1)
print(session.run(None, {"images": np.full((1, 64, 4, 4), 255, np.uint8)})[0].max())
"""


@pytest.mark.slow
def test_int8_is_exact_on_a_processor_without_vnni(tmp_path: Path) -> None:
    """The largest inputs and weights; ONNX Runtime's default gives 129 there, because its sums saturate."""
    emulator = shutil.which("qemu-x86_64")
    if emulator is None or platform.machine() != "x86_64":
        pytest.skip(
            "needs an x86-64 machine and qemu-x86_64, which emulates one without VNNI: apt-get install qemu-user"
        )
    (tmp_path / "model.onnx").write_bytes(saturating_model())
    command = [emulator, "-cpu", "Haswell", sys.executable, "-c", SATURATING_PROGRAM, tmp_path / "model.onnx"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "255"
