"""A bundle as a secondary inference engine of DeepStream (Gst-nvinfer): a graph that nvinfer can feed, and its config.

nvinfer converts every crop to float32 and writes it to the input of the engine whatever type that input has
(`InferPreprocessor::transform` in its source), so a uint8 graph would get garbage. TensorRT accepts no uint8 tensor
inside a graph either. The graph is therefore rewritten to take float32 `[N, 3, H, W]` in 0..255; nothing else changes.
docs/interop.md names the sources.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sal_export.interop.written_directory import write_directory
from sal_runtime.bundle.bundle import IMAGE_ROLE, Bundle
from sal_runtime.engines.devices import open_backend
from sal_runtime.errors import BackendError, ParityError, install
from sal_runtime.images.spec import ImageSpec
from sal_runtime.version import __version__

COMMAND = "sal bundle deepstream"
CONFIG = "config_infer_sal.txt"
MODEL = "image_encoder_nchw.onnx"
MAX_DIFFERENCE = 1e-6
"""Largest difference of a coordinate: the graph for nvinfer does the same arithmetic on the same numbers."""

CONFIG_TEXT = """\
# Image encoder of the bundle {name} ({fingerprint}) as a secondary engine of Gst-nvinfer.
# Written by sal {version}; docs/interop.md explains it. Licence of the weights: {licence}
[property]
gpu-id=0
gie-unique-id={gie_id}
onnx-file={model}
# nvinfer builds it at the first start, for this GPU and this TensorRT; never copy it to another machine
model-engine-file={engine}
batch-size={max_batch}
# fp32, the precision that sal compared with PyTorch
network-mode=0

# every object of class {person_class} that engine {detector_id} detects
process-mode=2
operate-on-gie-id={detector_id}
operate-on-class-ids={person_class}

# neither detector nor classifier: each object gets its embedding as NvDsInferTensorMeta
network-type=100
output-tensor-meta=1

# unscaled RGB in 0..255, float32 [N, 3, {height}, {width}]: the graph normalises
model-color-format=0
network-input-order=0
infer-dims=3;{height};{width}
net-scale-factor=1
offsets=0;0;0

# stretched to the size, as in training; bilinear (docs/interop.md tells how that differs from training)
maintain-aspect-ratio=0
scaling-filter=1
"""


def write_deepstream_config(
    bundle: Bundle, out: Path, max_batch: int = 32, gie_id: int = 2, detector_id: int = 1, person_class: int = 0
) -> Path:
    """Write graph and configuration; a directory that this function wrote before is replaced, with its engines.

    Args:
        bundle: opened; gives its fp32 image encoder.
        out: the directory.
        max_batch: most objects in one run.
        gie_id: unique number of this engine in the pipeline.
        detector_id: `gie-unique-id` of the engine that detects people.
        person_class: class of people in the output of that engine.

    Returns:
        The configuration file.

    Raises:
        BackendError: ONNX or ONNX Runtime is not installed.
        ParityError: the rewritten graph gives other embeddings than the bundle's; nothing is written.
        InputError: `out` is something that this function did not write.
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
    """Rewrite an image encoder to take float32 `[N, 3, H, W]` in 0..255 instead of uint8 `[N, H, W, 3]`.

    Args:
        model: content of the bundle's .onnx file.
        spec: size of the images.

    Returns:
        The content of an .onnx file; input and output keep their names.

    Raises:
        BackendError: ONNX is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise BackendError(f"ONNX is not installed; {install('export')}") from error
    graph_file = onnx.load_model_from_string(model)
    graph = graph_file.graph
    source = graph.input[0].name
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    interleaved = f"{source}_nhwc"
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == source:
                node.input[place] = interleaved
    # tensors before the graph's own cast were uint8 and are float now; checking infers their types anew
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
            f"embeddings of the graph for DeepStream differ by {difference:.1e} from the bundle's, limit "
            f"{MAX_DIFFERENCE:.0e}; nothing has been written"
        )
