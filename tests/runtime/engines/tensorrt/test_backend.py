"""Running engines: cutting up, buffers, threads, graphs and clean-up, on pretended libraries; for real on a GPU."""

from __future__ import annotations

import gc
import inspect
import logging
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sal_runtime.engines.tensorrt import backend as backend_tensorrt
from sal_runtime.engines.tensorrt import build as tensorrt_build
from sal_runtime.engines.tensorrt.backend import TensorRTBackend, open_tensorrt_backend
from sal_runtime.engines.tensorrt.build import BuiltEngine
from sal_runtime.engines.tensorrt.cuda import CudaDevice, cuda_call, current_gpu
from sal_runtime.engines.tensorrt.key import Profile
from sal_runtime.engines.tensorrt.library import find_tensorrt
from sal_runtime.engines.tensorrt.precision import PrecisionProof
from sal_runtime.engines.tensorrt.store import list_engines
from sal_runtime.engines.tensorrt.stream import MAX_GRAPHS, load_engine
from sal_runtime.errors import BackendError
from tests.runtime import fake_tensorrt
from tests.runtime.fake_cuda import FakeCuda
from tests.runtime.fake_tensorrt import DIM, HEIGHT, WIDTH, FakeTensorRT, answer, plan
from tests.runtime.tiny_encoder import HEIGHT as TINY_HEIGHT
from tests.runtime.tiny_encoder import WIDTH as TINY_WIDTH
from tests.runtime.tiny_encoder import tiny_encoder

GPU = CudaDevice(0, "NVIDIA Pretended", "8.9")
MODEL = b"the bytes of an encoder"


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    return fake_tensorrt.install(monkeypatch)


def backend(streams: int = 1, max_graphs: int = MAX_GRAPHS, **profile: int) -> TensorRTBackend:
    return TensorRTBackend(load_engine(find_tensorrt(), plan(**profile)), GPU, streams, max_graphs)


def images(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8)


@pytest.mark.parametrize(
    ("count", "pieces"),
    [(0, []), (1, [1]), (3, [3]), (17, [17]), (32, [32]), (33, [32, 1]), (64, [32, 32]), (100, [32, 32, 32, 4])],
)
def test_any_batch_is_cut_to_the_profile(library: FakeTensorRT, count: int, pieces: list[int]) -> None:
    batch = images(count)
    output = backend(max_graphs=0).run(batch)
    assert (output.dtype, output.shape) == (np.float32, (count, DIM))
    assert np.array_equal(output, answer(batch))
    assert library.executed == pieces


def test_a_batch_below_the_smallest_runs_at_the_smallest(library: FakeTensorRT) -> None:
    encoder = backend(smallest=4)
    full, small = images(32, seed=1), images(2, seed=2)
    assert np.array_equal(encoder.run(full), answer(full))
    assert np.array_equal(encoder.run(small), answer(small))
    assert library.executed == [32, 4]


def test_a_view_that_is_not_contiguous_runs(library: FakeTensorRT) -> None:
    batch = images(20)[::2, ::-1]
    assert np.array_equal(backend().run(batch), answer(np.ascontiguousarray(batch)))


def test_results_are_the_callers_own(library: FakeTensorRT) -> None:
    encoder = backend()
    first = encoder.run(images(4, seed=1))
    kept = first.copy()
    encoder.run(images(4, seed=2))
    assert np.array_equal(first, kept)


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((2, HEIGHT, WIDTH, 3), np.float32),
        np.zeros((2, 3, HEIGHT, WIDTH), np.uint8),
        np.zeros((HEIGHT, WIDTH, 3), np.uint8),
    ],
)
def test_another_dtype_or_shape_is_refused(library: FakeTensorRT, batch: Any) -> None:
    with pytest.raises(BackendError, match=r"takes uint8 batches of \(6, 4, 3\), got"):
        backend().run(batch)


@pytest.mark.parametrize("streams", [1, 3])
def test_many_threads_share_the_streams(library: FakeTensorRT, streams: int) -> None:
    encoder = backend(streams)
    wrong: list[int] = []

    def work(number: int) -> None:
        for turn in range(30):
            batch = images(1 + (number + turn) % 40, seed=100 * number + turn)
            if not np.array_equal(encoder.run(batch), answer(batch)):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert library.cuda.calls["cudaStreamCreateWithFlags"] == streams


def test_sizes_that_come_again_are_captured_once_and_replayed(library: FakeTensorRT) -> None:
    encoder = backend()
    calls = library.cuda.calls
    for turn in range(6):
        batch = images(8, seed=turn)
        assert np.array_equal(encoder.run(batch), answer(batch))
    # two plain runs; the second one's size is captured, after a run on its own context; four replays
    assert library.executed == [8, 8, 8, 8]
    assert (calls["cudaGraphInstantiate"], calls["cudaGraphLaunch"]) == (1, 4)


def test_graphs_are_few_and_stay_right_between_other_sizes(library: FakeTensorRT) -> None:
    encoder = backend()
    for turn in range(5):
        for size in (1, 2, 3, 8, 17, 32):
            batch = images(size, seed=turn)
            assert np.array_equal(encoder.run(batch), answer(batch))
    assert library.cuda.calls["cudaGraphInstantiate"] == MAX_GRAPHS


@pytest.mark.parametrize("function", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"])
def test_without_graphs_everything_still_runs_and_it_is_said_once(
    library: FakeTensorRT, function: str, caplog: pytest.LogCaptureFixture
) -> None:
    library.cuda.fails[function] = 900
    encoder = backend()
    for turn in range(5):
        batch = images(8, seed=turn)
        assert np.array_equal(encoder.run(batch), answer(batch))
    assert library.cuda.calls["cudaGraphLaunch"] == 0
    (record,) = caplog.records
    assert f"no CUDA graphs on this stream, runs are enqueued one by one: CUDA: {function} failed" in record.message
    assert len(library.cuda.objects) == 1  # the stream


def test_a_run_that_fails_while_captured_leaves_the_capture(
    library: FakeTensorRT, caplog: pytest.LogCaptureFixture
) -> None:
    library.refuses_capture = True
    encoder = backend()
    for turn in range(4):
        batch = images(8, seed=turn)
        assert np.array_equal(encoder.run(batch), answer(batch))
    assert library.cuda.calls["cudaStreamEndCapture"] == 1
    assert "cannot run a batch of 8" in caplog.text


def test_everything_is_freed_on_close_and_when_nobody_holds_it(library: FakeTensorRT) -> None:
    for explicitly in (True, False):
        encoder = backend(streams=3)
        for turn in range(4):
            encoder.run(images(8, seed=turn))
        assert len(library.cuda.memory) == 3 * 4
        assert len(library.cuda.objects) > 3
        if explicitly:
            encoder.close()
        else:
            del encoder
            gc.collect()
        assert library.cuda.memory == {}
        assert library.cuda.objects == {}


def test_buffers_are_made_for_the_largest_batch(library: FakeTensorRT) -> None:
    encoder = backend(largest=50)
    rows = {"device": sorted([50 * HEIGHT * WIDTH * 3, 50 * DIM * 4])} | {
        "pinned": sorted([50 * HEIGHT * WIDTH * 3, 50 * DIM * 4])
    }
    for place, sizes in rows.items():
        assert sorted(len(buffer) for buffer, there in library.cuda.memory.values() if there == place) == sizes
    encoder.close()


@pytest.mark.parametrize("function", ["cudaMalloc", "cudaMallocHost", "cudaStreamCreateWithFlags"])
def test_a_gpu_without_room_is_an_error_that_leaves_nothing(library: FakeTensorRT, function: str) -> None:
    library.cuda.fails[function] = 2
    with pytest.raises(BackendError, match=f"CUDA: {function} failed with error 2: out of memory"):
        backend()
    gc.collect()
    assert library.cuda.memory == {}
    assert library.cuda.objects == {}


def test_a_failed_run_says_what_the_library_said_and_frees_the_stream(library: FakeTensorRT) -> None:
    encoder = backend()
    library.refuses = "Error Code 1: Cask\n  (no implementation)"
    for _ in range(3):
        with pytest.raises(BackendError, match=r"cannot run a batch of 2: Error Code 1: Cask \(no implementation\)"):
            encoder.run(images(2))


def test_the_inspector_is_asked_with_a_shape(library: FakeTensorRT) -> None:
    library.inspected = ["Half", "Half", "Float"]
    found = tensorrt_build._inspected(find_tensorrt(), plan(), Profile(1, 8, 32), "fp16")
    assert found == {"fp16": 2, "fp32": 1}
    with pytest.raises(BackendError, match="asked for int8"):
        tensorrt_build._inspected(find_tensorrt(), plan(), Profile(1, 8, 32), "int8")


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was asked of `build_engine`, which gives a pretended engine."""
    asked: list[tuple[Any, ...]] = []

    def build(model: bytes, *, precision: Any, profile: Profile, **others: Any) -> BuiltEngine:
        asked.append((model, precision, profile))
        made = plan(profile.min_batch, profile.opt_batch, profile.max_batch)
        return BuiltEngine(made, PrecisionProof({precision: 3}, {precision: 3}, None, len(made)))

    monkeypatch.setattr(backend_tensorrt, "build_engine", build)
    return asked


def test_an_engine_is_built_once_and_found_after(
    library: FakeTensorRT, builds: list[Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = tmp_path / "engines"
    batch = images(3)
    for _ in range(2):
        encoder = open_tensorrt_backend(MODEL, precision="fp16", profile=Profile(1, 4, 16), store=store)
        assert encoder.device == "trt"
        assert encoder.profile == Profile(1, 4, 16)
        assert np.array_equal(encoder.run(batch), answer(batch))
    assert len(builds) == 1
    assert builds[0] == (MODEL, "fp16", Profile(1, 4, 16))
    (engine,) = list_engines(store)
    assert (engine.key.gpu, engine.key.compute_capabilities) == ("NVIDIA Pretended", ("8.9",))
    assert engine.inspection["engine"] == {"fp16": 3}
    assert [record.getMessage() for record in caplog.records] == [
        "building the TensorRT engine, which takes from seconds to minutes: no engine of this graph in " + str(store)
    ]


def test_engines_are_kept_in_the_users_cache_unless_a_store_is_named(
    library: FakeTensorRT, builds: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    open_tensorrt_backend(MODEL, precision="fp16")
    assert len(list_engines(tmp_path / "sal" / "engines")) == 1


def test_a_stale_engine_is_built_again_and_the_reason_is_logged(
    library: FakeTensorRT, builds: list[Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_tensorrt_backend(MODEL, precision="fp16", store=tmp_path)
    library.__version__ = "11.5.0.42"
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        open_tensorrt_backend(MODEL, precision="fp16", store=tmp_path)
    assert len(builds) == 2
    assert "built by TensorRT 11.4.0.106, this is TensorRT 11.5.0.42" in caplog.text


def test_an_altered_engine_never_reaches_tensorrt(library: FakeTensorRT, builds: list[Any], tmp_path: Path) -> None:
    open_tensorrt_backend(MODEL, precision="fp16", store=tmp_path)
    (engine,) = list_engines(tmp_path)
    path = engine.folder / "engine.plan"
    altered = path.read_bytes().replace(b"32", b"31")
    path.write_bytes(altered)
    library.deserialised.clear()
    with pytest.raises(BackendError, match="was altered"):
        open_tensorrt_backend(MODEL, precision="fp16", store=tmp_path)
    assert library.deserialised == []


def test_a_plan_that_tensorrt_does_not_take_says_why(library: FakeTensorRT) -> None:
    with pytest.raises(BackendError, match=r"TensorRT 11.4.0.106 cannot load the engine: magic tag does not match"):
        load_engine(find_tensorrt(), b"from elsewhere")


def test_without_a_gpu_the_error_says_so(library: FakeTensorRT, tmp_path: Path) -> None:
    library.cuda.devices = 0
    with pytest.raises(BackendError, match=r"no CUDA device: none is visible; .* use device cpu"):
        open_tensorrt_backend(MODEL, precision="fp16", store=tmp_path)
    library.cuda.fails["cudaGetDeviceCount"] = 35
    with pytest.raises(BackendError, match="no CUDA device: driver is too old"):
        current_gpu()


def test_without_cuda_bindings_the_error_names_the_extra(
    library: FakeTensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(BackendError, match=r'cuda-bindings cannot be imported .*pip install "\.\[trt\]"'):
        current_gpu()


def test_every_return_code_is_looked_at(library: FakeTensorRT) -> None:
    library.cuda.fails["cudaSetDevice"] = 101
    with pytest.raises(BackendError, match="cudaSetDevice failed with error 101: some failure"):
        cuda_call(library.cuda.cudaSetDevice, 0)
    with pytest.raises(BackendError, match="cudaSetDevice"):
        backend().run(images(1))


@pytest.mark.parametrize(
    ("pretended", "real"),
    [
        (fake_tensorrt.FakeContext, "IExecutionContext"),
        (fake_tensorrt.FakeEngine, "ICudaEngine"),
        (fake_tensorrt.FakeInspector, "EngineInspector"),
    ],
)
def test_the_pretended_tensorrt_offers_nothing_that_the_real_one_lacks(pretended: type, real: str) -> None:
    module = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install tensorrt-rtx")
    offered = {name for name in vars(pretended) if not name.startswith("_")}
    assert offered
    assert offered <= set(dir(getattr(module, real)))
    assert {"INPUT", "OUTPUT"} <= set(dir(module.TensorIOMode))
    assert module.nptype(module.DataType.UINT8) == np.uint8
    assert module.nptype(module.DataType.FLOAT) == np.float32


def test_the_pretended_cuda_takes_the_same_arguments_as_the_real_one() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    functions = [name for name in vars(FakeCuda) if name.startswith("cuda") and name[4:5].isupper()]
    checked = 0
    for name in functions:
        real, fake = getattr(runtime, name), getattr(FakeCuda, name)
        if not callable(fake):
            continue
        arguments = (real.__doc__ or "").partition("(")[2].partition(")")[0]
        wanted = [argument.split(":")[0].split()[-1] for argument in arguments.split(",") if argument.strip()]
        assert wanted == [parameter for parameter in inspect.signature(fake).parameters if parameter != "self"], name
        checked += 1
    assert checked > 15
    assert {int(runtime.cudaMemcpyKind.cudaMemcpyHostToDevice), int(runtime.cudaStreamNonBlocking)} == {1}
    assert hasattr(runtime.cudaStreamCaptureMode, "cudaStreamCaptureModeThreadLocal")
    assert hasattr(runtime.cudaDeviceAttr, "cudaDevAttrComputeCapabilityMajor")
    assert runtime.cudaGetErrorString(runtime.cudaError_t.cudaErrorMemoryAllocation)[1] == b"out of memory"


@pytest.fixture
def real_gpu() -> CudaDevice:
    try:
        find_tensorrt()
        return current_gpu()
    except BackendError as error:
        pytest.skip(str(error))


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.99999), ("fp16", 0.999), ("int8", 0.99)])
def test_engines_give_what_onnx_runtime_gives(
    real_gpu: CudaDevice, tmp_path: Path, precision: Any, least: float
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    reference = onnxruntime.InferenceSession(tiny_encoder("fp32"), providers=["CPUExecutionProvider"])
    encoder = open_tensorrt_backend(
        tiny_encoder(precision), precision=precision, profile=Profile(1, 8, 32), store=tmp_path
    )
    rng = np.random.default_rng(5)
    for count in (1, 2, 3, 17, 32, 33, 17, 17, 17):
        batch = rng.integers(0, 256, (count, TINY_HEIGHT, TINY_WIDTH, 3), np.uint8)
        cosines = (encoder.run(batch) * reference.run(None, {"images": batch})[0]).sum(axis=1)
        assert cosines.min() > least
