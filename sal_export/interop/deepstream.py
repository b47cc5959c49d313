"""A bundle as a secondary inference engine of DeepStream (Gst-nvinfer): the graph as nvinfer feeds it, and its config.

nvinfer converts every crop to float32 and writes it to the input of the engine without looking at the type of that
input (`InferPreprocessor::transform` in its source), so a uint8 graph would be fed garbage. And TensorRT takes no uint8
tensor inside a graph. So the graph is rewritten to take float32 `[N, 3, H, W]` of 0..255; nothing else changes.
docs/interop.md has the sources.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sal_export.interop.written_directory import write_directory
from sal_runtime.bundle.bundle import IMAGE_ROLE, Bundle
from sal_runtime.engines.devices import open_backend
from sal_runtime.errors import BackendError, ParityError
from sal_runtime.images.pixels import ImageSpec
from sal_runtime.version import __version__

COMMAND = "sal bundle deepstream"
CONFIG = "config_infer_sal.txt"
MODEL = "image_encoder_nchw.onnx"
MAX_DIFFERENCE = 1e-6
"""Of a coordinate: the graph for nvinfer does the same arithmetic on the same numbers."""

CONFIG_TEXT = """\
# Image encoder of the bundle {name} ({fingerprint}) as a secondary engine of Gst-nvinfer.
# Written by sal {version}; docs/interop.md explains it. Licence of the weights: {licence}
[property]
gpu-id=0
gie-unique-id={gie_id}
onnx-file={model}
# built by nvinfer at the first start; it belongs to this GPU and this TensorRT, never copy it elsewhere
model-engine-file={engine}
batch-size={max_batch}
# fp32: what sal compared with PyTorch
network-mode=0

# every object of class {person_class} that engine {detector_id} has found
process-mode=2
operate-on-gie-id={detector_id}
operate-on-class-ids={person_class}

# no detector, no classifier: the embedding is handed on as NvDsInferTensorMeta of each object
network-type=100
output-tensor-meta=1

# RGB of 0..255 as it is, float32 [N, 3, {height}, {width}]: the graph normalises
model-color-format=0
network-input-order=0
infer-dims=3;{height};{width}
net-scale-factor=1
offsets=0;0;0

# stretched to the size, as in training; bilinear (see docs/interop.md on how that differs from training)
maintain-aspect-ratio=0
scaling-filter=1
"""


def write_deepstream_config(
    bundle: Bundle, out: Path, max_batch: int = 32, gie_id: int = 2, detector_id: int = 1, person_class: int = 0
) -> Path:
    """Write graph and configuration; what this function wrote at `out` before is replaced whole, with its engines.

    Args:
        bundle: opened; its fp32 image encoder is taken.
        out: the directory.
        max_batch: most objects in one run.
        gie_id: unique number of this engine in the pipeline.
        detector_id: `gie-unique-id` of the engine that finds people.
        person_class: class of a person in that engine's output.

    Returns:
        The configuration file.

    Raises:
        BackendError: ONNX or ONNX Runtime is not installed.
        ParityError: the rewritten graph does not give what the bundle's gives; nothing is written.
        InputError: something else is at `out`.
    """
    original = bundle.read_bytes(bundle.artefact(IMAGE_ROLE).file)
    rewritten = float_graph(original, bundle.image_spec)
    check_same_embeddings(bundle, original, rewritten)
    text = CONFIG_TEXT.format(
        name=_one_line(bundle.name),
        fingerprint=bundle.fingerprint[:12],
        version=__version__,
        licence=_one_line(str(bundle.manifest["licence"])),
        model=MODEL,
        engine=f"{MODEL}_b{max_batch}_gpu0_fp32.engine",
        height=bundle.image_spec.height,
        width=bundle.image_spec.width,
        max_batch=max_batch,
        gie_id=gie_id,
        detector_id=detector_id,
        person_class=person_class,
    )
    write_directory(out, COMMAND, bundle, {CONFIG: text.encode(), MODEL: rewritten}, cache=".engine")
    return out / CONFIG


def _one_line(text: str) -> str:
    return " ".join(text.split())


def float_graph(model: bytes, spec: ImageSpec) -> bytes:
    """The image encoder with float32 `[N, 3, H, W]` of 0..255 in place of uint8 `[N, H, W, 3]`.

    Args:
        model: the content of the bundle's .onnx file.
        spec: of the bundle.

    Returns:
        The content of an .onnx file; input and output keep their names.

    Raises:
        BackendError: ONNX is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise BackendError('ONNX is not installed; pip install "sal-person-search[export]"') from error
    graph_file = onnx.load_model_from_string(model)
    graph = graph_file.graph
    source = graph.input[0].name
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    interleaved = f"{source}_nhwc"
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == source:
                node.input[place] = interleaved
    # what was uint8 on the way to the graph's own cast is float now, and inferred anew
    del graph.value_info[:]
    graph.node.insert(0, onnx.helper.make_node("Transpose", [source], [interleaved], perm=[0, 2, 3, 1]))
    graph.input[0].CopyFrom(
        onnx.helper.make_tensor_value_info(source, onnx.TensorProto.FLOAT, [batch, 3, spec.height, spec.width])
    )
    onnx.checker.check_model(graph_file, full_check=True)
    return bytes(graph_file.SerializeToString())


def check_same_embeddings(bundle: Bundle, original: bytes, rewritten: bytes) -> None:
    """Run both graphs in ONNX Runtime on the bundle's golden crops.

    Raises:
        ParityError: they differ.
    """
    crops = bundle.golden["images"]
    expected = open_backend(original).run(crops)
    got = open_backend(rewritten).run(np.ascontiguousarray(crops.transpose(0, 3, 1, 2), dtype=np.float32))
    difference = float(np.abs(got - expected).max())
    if not difference <= MAX_DIFFERENCE:
        raise ParityError(
            f"the graph for DeepStream differs by {difference:.1e} from the bundle's, limit {MAX_DIFFERENCE:.0e}"
        )
