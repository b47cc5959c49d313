"""Building engines for real with TensorRT-RTX, which needs no GPU to build; and the proof of their precision."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from sal_runtime.engines.tensorrt import build as tensorrt_build
from sal_runtime.engines.tensorrt.build import build_engine
from sal_runtime.engines.tensorrt.key import Profile
from sal_runtime.engines.tensorrt.library import find_tensorrt
from sal_runtime.engines.tensorrt.precision import check_engine, check_weights
from sal_runtime.errors import BackendError
from tests.runtime.tiny_encoder import DIM, HEIGHT, NUM_PRODUCTS, WIDTH, tiny_encoder

EDGE = Path(__file__).parents[4] / "bundles" / "edge" / "image_encoder.onnx"
PROFILE = Profile(1, 8, 32)
ADA = ["8.9"]


@pytest.fixture
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install tensorrt-rtx")


def build(model: bytes, precision: Any, **options: Any) -> tensorrt_build.BuiltEngine:
    return build_engine(model, precision=precision, profile=PROFILE, compute_capabilities=ADA, **options)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_builds_in_the_graphs_precision_and_proves_it(rtx: Any, precision: str) -> None:
    model = tiny_encoder(precision)
    built = build(model, precision)
    assert built.proof.graph == {precision: NUM_PRODUCTS}
    assert built.proof.plan_bytes == len(built.plan) > 0
    # the builder's own account of what it put into the engine: bytes per weight, counted from the shapes
    weights = 64 * 3 * 9 + 128 * 64 * 9 + DIM * 128
    assert built.proof.weight_bytes is not None
    assert built.proof.weight_bytes / weights == pytest.approx({"fp32": 4, "fp16": 2, "int8": 1}[precision], rel=0.1)


def test_fp32_is_not_tf32(rtx: Any) -> None:
    plan = build(tiny_encoder("fp32"), "fp32").plan
    assert b"tf32=0" in plan
    assert b"tf32=1" not in plan


@pytest.mark.parametrize(
    ("made", "asked"), [("fp32", "fp16"), ("fp32", "int8"), ("fp16", "fp32"), ("int8", "fp32"), ("fp16", "int8")]
)
def test_refuses_a_graph_of_another_precision(rtx: Any, made: str, asked: str) -> None:
    with pytest.raises(BackendError, match=f"asked for {asked}, but .* there are {NUM_PRODUCTS} {made}; export"):
        build(tiny_encoder(made), asked)


def test_builds_the_shipped_encoder(rtx: Any) -> None:
    model = EDGE.read_bytes()
    built = build(model, "fp32")
    graph = onnx.load_model_from_string(model).graph
    assert built.proof.graph == {"fp32": sum(node.op_type in ("Conv", "Gemm") for node in graph.node)}
    assert built.proof.weight_bytes == pytest.approx(sum(len(w.raw_data) for w in graph.initializer), rel=0.02)


def test_one_engine_for_several_gpus(rtx: Any) -> None:
    one = build_engine(tiny_encoder("fp16"), precision="fp16", profile=PROFILE, compute_capabilities=["8.9"]).plan
    two = build_engine(
        tiny_encoder("fp16"), precision="fp16", profile=PROFILE, compute_capabilities=["12.0", "8.9"]
    ).plan
    assert b"sm89" in one
    assert b"sm120" not in one
    assert b"sm89" in two
    assert b"sm120" in two


def test_a_parser_error_names_node_operator_and_remedy(rtx: Any) -> None:
    with pytest.raises(
        BackendError, match=r"Transpose node_channels_first: .*UInt8.*uint8 must be cast before anything else"
    ):
        build(tiny_encoder("fp32", cast_first=False), "fp32")


def test_what_is_not_onnx_is_an_error(rtx: Any) -> None:
    with pytest.raises(BackendError, match="cannot parse the graph"):
        build(b"not a graph", "fp32")


def test_a_graph_with_other_names_is_refused(rtx: Any) -> None:
    with pytest.raises(
        BackendError, match=rf"returns \[\('vectors', 'FLOAT', \(-1, {DIM}\)\)\]; expected one input images"
    ):
        build(tiny_encoder("fp32", output="vectors"), "fp32")


def test_an_unknown_compute_capability_names_those_there_are(rtx: Any) -> None:
    with pytest.raises(BackendError, match=r"not build for compute capability 9\.0, only for .*8\.9, 12\.0"):
        build_engine(tiny_encoder("fp32"), precision="fp32", profile=PROFILE, compute_capabilities=["9.0"])


def test_progress_counts_every_phase_to_its_end(rtx: Any) -> None:
    told: list[tuple[str, int, int]] = []
    build(tiny_encoder("fp32"), "fp32", progress=lambda *step: told.append(step))
    last = {phase: (done, steps) for phase, done, steps in told}
    assert told[0][:2] == ("Building engine", 0)
    assert len(last) > 1
    assert all(done == steps for done, steps in last.values())


def test_an_exception_of_progress_ends_the_build_and_comes_out(rtx: Any) -> None:
    told: list[str] = []

    def interrupted(phase: str, done: int, steps: int) -> None:
        told.append(phase)
        if len(told) == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tiny_encoder("fp32"), "fp32", progress=interrupted)
    assert len(told) == 10


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_timing_cache_is_read_and_replaced(rtx: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # TensorRT-RTX still has the calls, though they do nothing for it: made to look like TensorRT
    library = dataclasses.replace(find_tensorrt(), kind="tensorrt")
    config = library.module.Builder(library.log.logger).create_builder_config()
    path = tmp_path / "store" / "timings.cache"
    with tensorrt_build._timings(library, config, path):
        assert not path.exists()
    written = path.read_bytes()
    assert written
    with tensorrt_build._timings(library, config, path):
        pass
    assert path.read_bytes() == written
    assert not [record for record in caplog.records if record.name == tensorrt_build.__name__]
    assert [entry.name for entry in path.parent.iterdir()] == ["timings.cache"]


INSPECTED_10 = {
    "Layers": [
        {"LayerType": "Reformat", "Inputs": [{"Format/Datatype": "Row major linear FP32"}]},
        {"LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": "Row major Int8 format"}]},
        {"LayerType": "CaskGemmConvolution", "Inputs": [{"Format/Datatype": "Thirty-two wide row major Int8 format."}]},
        {"LayerType": "MatrixMultiply", "Inputs": [{"Format/Datatype": "Row major linear FP16 format"}]},
        {"LayerType": "kgen", "Inputs": [{"Format/Datatype": "Half"}]},
    ],
    "Bindings": ["images", "embeddings"],
}
INSPECTED_11 = {
    "Layers": [
        {"LayerType": "CaskConvolution", "Inputs": [{"Format": "Channel major (kHWC8)", "DataType": "Half"}]},
        {"LayerType": "gemm", "Inputs": [{"Format": "Row major linear (kLINEAR)", "DataType": "Half"}]},
        {"LayerType": "gemm", "Inputs": [{"Format": "Row major linear (kLINEAR)", "DataType": "Float"}]},
    ],
    "I/O Tensors": [{"Name": "images", "DataType": "UInt8"}],
}


def test_the_inspectors_account_is_counted() -> None:
    assert check_engine(json.dumps(INSPECTED_10), "int8") == {"int8": 2, "fp16": 1}
    assert check_engine(json.dumps(INSPECTED_11), "fp16") == {"fp16": 2, "fp32": 1}


@pytest.mark.parametrize(
    ("information", "asked", "said"),
    [
        (INSPECTED_10, "fp16", "2 int8, 1 fp16"),
        (INSPECTED_11, "fp32", "2 fp16, 1 fp32"),
        (INSPECTED_11, "int8", "2 fp16, 1 fp32"),
        ({"Layers": ["conv1", "conv2"]}, "fp32", "none that can be read"),
        ({"Layers": [{"LayerType": "{ForeignNode[...]}", "Inputs": []}]}, "fp16", "none that can be read"),
        ({"Layers": [{"LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": "N/A"}]}]}, "fp16", "1 unknown"),
        ({"Layers": [{"LayerType": "gemm", "Inputs": [{"DataType": "BFloat16"}]}]}, "fp32", "1 bf16"),
    ],
)
def test_an_engine_in_another_precision_is_refused(information: Any, asked: Any, said: str) -> None:
    with pytest.raises(BackendError, match=f"asked for {asked}, but of the built engine's .* there are {said};"):
        check_engine(json.dumps(information), asked)


def test_widened_weights_are_refused() -> None:
    check_weights(1_450_000, 1_000_000, "fp16")
    check_weights(None, 1_000_000, "fp16")
    with pytest.raises(BackendError, match="weights take 2000000 bytes and the whole graph 1000000"):
        check_weights(2_000_000, 1_000_000, "fp16")


def pretend(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    module = ModuleType("tensorrt")
    module.__version__ = version  # type: ignore[attr-defined]
    severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3, VERBOSE=4)
    module.ILogger = type("ILogger", (), {"Severity": severity})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt", module)


@pytest.mark.parametrize("version", ["10.9.0.34", "8.6.1", "10.11.0.33"])
def test_an_old_tensorrt_is_refused(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    pretend(monkeypatch, version)
    with pytest.raises(BackendError, match=f"TensorRT {version} is too old: .*10.12"):
        find_tensorrt()


@pytest.mark.parametrize("version", ["10.12.0.36", "10.16.1.11", "11.4.0.106"])
def test_tensorrt_comes_before_tensorrt_rtx(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    pretend(monkeypatch, version)
    library = find_tensorrt()
    assert (library.kind, library.version, library.title) == ("tensorrt", version, f"TensorRT {version}")
    with pytest.raises(BackendError, match=r"builds for the GPU it runs on, not for 8\.9"):
        tensorrt_build.target_capabilities(library, ["8.9"])


def test_without_either_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    # None in sys.modules: importing it raises ModuleNotFoundError
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(
        BackendError, match=r'`pip install tensorrt-rtx`; on others in the checkout of sal: `pip install "\.\[trt\]"`'
    ):
        find_tensorrt()


def test_a_library_that_does_not_load_is_not_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.11: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(BackendError, match="tensorrt is installed but does not load: libnvinfer"):
        find_tensorrt()


def test_the_graphs_agree_with_each_other() -> None:
    """Of the fixture: the three precisions are one encoder, so that an engine of one is comparable with the others."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    images = np.random.default_rng(1).integers(0, 256, (5, HEIGHT, WIDTH, 3), np.uint8)
    outputs = {
        precision: onnxruntime.InferenceSession(tiny_encoder(precision)).run(None, {"images": images})[0]
        for precision in ("fp32", "fp16", "int8")
    }
    for output in outputs.values():
        assert (output * outputs["fp32"]).sum(axis=1).min() > 0.999
