"""Builds a TensorRT engine of a graph: one code path for TensorRT 10.12 and later, 11, and TensorRT-RTX.

The graph determines the precision (half weights, explicit QuantizeLinear and DequantizeLinear); no flag does.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sal_runtime.arrays import Precision
from sal_runtime.engines.tensorrt.cuda import current_gpu
from sal_runtime.engines.tensorrt.key import Profile
from sal_runtime.engines.tensorrt.library import FREE, TensorRT, find_tensorrt
from sal_runtime.engines.tensorrt.precision import PrecisionProof, check_engine, check_graph, check_weights
from sal_runtime.engines.tensorrt.store import PRIVATE
from sal_runtime.errors import BackendError
from sal_runtime.files import whole_file

INPUT = "images"
OUTPUT = "embeddings"
WORKSPACE_BYTES = 2 << 30
"""Most scratch memory that a kernel may use."""
WEIGHTS_MESSAGE = "Total Weights Memory:"
"""Beginning of the builder's message that states the size of the engine's weights."""

BuildProgress = Callable[[str, int, int], None]
"""Called with the name of a build phase, the steps done and the total steps; phases nest and overlap."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuiltEngine:
    """A serialised engine and the proof of its precision.

    Attributes:
        plan: serialised engine, for a runtime of the same library version.
        proof: proof of the precision.
    """

    plan: bytes
    proof: PrecisionProof


def build_engine(
    model: bytes,
    *,
    precision: Precision | None,
    profile: Profile,
    timing_cache: Path | None = None,
    progress: BuildProgress | None = None,
    compute_capabilities: Sequence[str] | None = None,
) -> BuiltEngine:
    """Build an engine.

    Args:
        model: content of an .onnx file. The first axis of every input is the batch, all others have fixed lengths.
        precision: required precision of an encoder, which takes `images` uint8 `[batch, H, W, 3]` and returns
            `embeddings` float32 `[batch, d]`; checked in the graph and, with TensorRT, in the built engine. None for
            another graph, which keeps its own.
        profile: batch sizes; those of the graph if its batch is fixed.
        timing_cache: file of kernel timings, read and replaced; speeds up the next build. TensorRT-RTX has none.
        progress: called at each step; an exception that it raises ends the build.
        compute_capabilities: GPUs to build for, for example `["8.9", "12.0"]`; TensorRT-RTX only. None for this GPU.

    Raises:
        BackendError: the library or a GPU is missing, or the graph cannot be built or has another precision; names the
            node and the reason.
    """
    library = find_tensorrt()
    targets = target_capabilities(library, compute_capabilities)
    builder = library.module.Builder(library.log.logger)
    network, parser = _parse(library, builder, model)
    if precision is not None:
        _check_encoder(network)
    graph = check_graph(library, network, precision)
    config = _configure(library, builder, network, profile)
    if library.kind == "tensorrt_rtx":
        _set_targets(library, config, targets)
    with _timings(library, config, timing_cache), _watched(library, config, progress):
        library.log.clear()
        serialised = builder.build_serialized_network(network, config)
    del parser  # not before: it owns memory that the network refers to
    if serialised is None:
        raise BackendError(f"{library.title} cannot build the engine: {library.log.errors()}")
    plan = bytes(memoryview(serialised))
    stated = (library.log.find(WEIGHTS_MESSAGE) or "").split()
    weight_bytes = int(stated[0]) if stated and stated[0].isdigit() else None
    engine = _inspected(library, plan, profile, precision) if library.kind == "tensorrt" else None
    if engine is None and precision is not None:
        check_weights(weight_bytes, len(model), precision)
    return BuiltEngine(plan, PrecisionProof(graph, engine, weight_bytes, len(plan)))


def target_capabilities(library: TensorRT, asked: Sequence[str] | None) -> tuple[str, ...]:
    """The compute capabilities to build an engine for, sorted.

    Args:
        library: library that builds the engine.
        asked: compute capabilities that the caller named; None for this GPU.

    Raises:
        BackendError: the library cannot build for them here.
    """
    if library.kind == "tensorrt":
        if asked is not None:
            raise BackendError(f"{library.title} builds for the GPU it runs on, not for {', '.join(asked)}")
        return (current_gpu().compute_capability,)
    try:
        targets = tuple(sorted(set(asked))) if asked is not None else (current_gpu().compute_capability,)
    except BackendError as error:
        raise BackendError(f"{library.title}: {error}; or name the compute capabilities to build for") from error
    known = [name for name in dir(library.module.ComputeCapability) if name.startswith("SM")]
    for target in targets:
        if _capability_name(target) not in known:
            names = sorted(known, key=lambda name: int(name[2:]))
            supported = ", ".join(f"{name[2:-1]}.{name[-1]}" for name in names)
            raise BackendError(f"{library.title} does not build for compute capability {target}, only for {supported}")
    return targets


def _capability_name(capability: str) -> str:
    return f"SM{capability.replace('.', '')}"


def _parse(library: TensorRT, builder: Any, model: bytes) -> tuple[Any, Any]:
    module = library.module
    # TensorRT 11 and TensorRT-RTX have strongly typed networks only, TensorRT 10 needs the flag; it does no harm where
    # it still exists
    flag = getattr(module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = module.OnnxParser(network, library.log.logger)
    library.log.clear()
    if not parser.parse(model):
        errors = [_describe(parser.get_error(number)) for number in range(parser.num_errors)]
        raise BackendError(f"{library.title} cannot parse the graph: {'; '.join(errors) or library.log.errors()}")
    return network, parser


def _describe(error: Any) -> str:
    """A parser error in words: operator, node, message, and the remedy if it is known."""
    message = " ".join(error.desc().split())
    remedy = " (uint8 must be cast before anything else is done with it)" if "UInt8" in message else ""
    return f"{error.node_operator() or 'graph'} {error.node_name() or 'without a name'}: {message}{remedy}"


def _check_encoder(network: Any) -> None:
    outputs = [network.get_output(number) for number in range(network.num_outputs)]
    taken, given = (
        [(tensor.name, tensor.dtype.name, tuple(tensor.shape)) for tensor in tensors]
        for tensors in (_inputs(network), outputs)
    )
    fits = [tensor[:2] for tensor in (*taken, *given)] == [(INPUT, "UINT8"), (OUTPUT, "FLOAT")]
    if fits:
        image, embedding = taken[0][2], given[0][2]
        fits = (len(image), image[0], image[-1], len(embedding), embedding[0]) == (4, FREE, 3, 2, FREE)
    if not fits:
        raise BackendError(
            f"the graph takes {taken} and returns {given}; expected one input {INPUT} UINT8 (-1, H, W, 3) and one "
            f"output {OUTPUT} FLOAT (-1, d), -1 for a free batch size; export the bundle again"
        )


def _configure(library: TensorRT, builder: Any, network: Any, profile: Profile) -> Any:
    module = library.module
    config = builder.create_builder_config()
    config.profiling_verbosity = module.ProfilingVerbosity.DETAILED  # otherwise the inspector reports names only
    if hasattr(config, "set_memory_pool_limit"):
        config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    if hasattr(module.BuilderFlag, "TF32"):
        config.clear_flag(module.BuilderFlag.TF32)  # default, cuts fp32 products to 10 bits of mantissa
    sizes = (profile.min_batch, profile.opt_batch, profile.max_batch)
    shapes = {tensor.name: tuple(tensor.shape) for tensor in _inputs(network)}
    if any(FREE in shape[1:] or {shape[0]} not in ({FREE}, {*sizes}) for shape in shapes.values()):
        taken = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise BackendError(
            f"the graph takes {taken}, {FREE} for a free length; TensorRT takes a free batch, or {profile}"
        )
    if free := {name: row for name, (first, *row) in shapes.items() if first == FREE}:
        batches = builder.create_optimization_profile()
        for name, row in free.items():
            batches.set_shape(name, *((size, *row) for size in sizes))
        config.add_optimization_profile(batches)
    return config


def _inputs(network: Any) -> list[Any]:
    return [network.get_input(number) for number in range(network.num_inputs)]


def _set_targets(library: TensorRT, config: Any, targets: Sequence[str]) -> None:
    config.num_compute_capabilities = len(targets)
    for number, target in enumerate(targets):
        config.set_compute_capability(getattr(library.module.ComputeCapability, _capability_name(target)), number)


@contextlib.contextmanager
def _timings(library: TensorRT, config: Any, path: Path | None) -> Iterator[None]:
    """Load the timing cache before the build and write it afterwards; TensorRT-RTX times nothing when it builds."""
    if path is None or library.kind == "tensorrt_rtx":
        yield
        return
    stored = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(stored)
    if cache is None or not config.set_timing_cache(cache, False):
        _logger.warning("timing cache %s is for another library or GPU; starting a new one", path)
        config.set_timing_cache(config.create_timing_cache(b""), False)
    yield
    path.parent.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        temporary.write_bytes(memoryview(config.get_timing_cache().serialize()))


@contextlib.contextmanager
def _watched(library: TensorRT, config: Any, progress: BuildProgress | None) -> Iterator[None]:
    """Report each step to `progress`; an exception that it raises ends the build and is raised again afterwards."""
    if progress is None:
        yield
        return
    raised: list[BaseException] = []
    steps: dict[str, int] = {}

    def tell(phase: str, done: int) -> bool:
        try:
            if not raised:
                progress(phase, done, steps[phase])
        except BaseException as error:  # must not pass through the library's C++
            raised.append(error)
        return not raised

    class Monitor(library.module.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            library.module.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            steps[phase_name] = num_steps
            tell(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return tell(phase_name, step + 1)

        def phase_finish(self, phase_name: str) -> None:
            tell(phase_name, steps[phase_name])

    monitor = Monitor()
    config.progress_monitor = monitor
    yield
    if raised:
        raise raised[0]


def _inspected(library: TensorRT, plan: bytes, profile: Profile, precision: Precision | None) -> dict[str, int]:
    """Products by precision, from the engine inspector at the best batch size; it knows types only for a set shape."""
    module = library.module
    library.log.clear()
    runtime = module.Runtime(library.log.logger)
    engine = runtime.deserialize_cuda_engine(plan)
    context = engine.create_execution_context() if engine is not None else None
    if context is None:
        raise BackendError(f"{library.title} cannot load the engine it built: {library.log.errors()}")
    for number in range(engine.num_io_tensors):
        name = engine.get_tensor_name(number)
        if engine.get_tensor_mode(name) == module.TensorIOMode.INPUT:
            context.set_input_shape(name, (profile.opt_batch, *tuple(engine.get_tensor_shape(name))[1:]))
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context
    return check_engine(inspector.get_engine_information(module.LayerInformationFormat.JSON), precision)
