"""The graph of a detector: its inputs, outputs and metadata, and an engine that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sal_runtime.arrays import AnyArray
from sal_runtime.engines.onnx import open_session, run_on_device, to_device
from sal_runtime.errors import BackendError, InputError, first_line

if TYPE_CHECKING:
    from sal_runtime.engines.tensorrt.backend import TensorRTBackend

DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
}
PICTURE_DTYPES = ("float32", "float16", "uint8")
SIZE_DTYPES = ("int64", "int32", "float32")
LONGEST_VALUE = 100
"""Longer values of the metadata are cut in messages."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or an output of a graph.

    Attributes:
        name: its name.
        dtype: such as `float32`.
        shape: its lengths; None where one is free; empty if the graph does not state them.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        lengths = ", ".join("?" if length is None else str(length) for length in self.shape)
        return f"{self.name} {self.dtype} [{lengths}]"


class Network:
    """A detector's graph in ONNX Runtime or TensorRT; threads may share it.

    Args:
        path: an .onnx file.
        device: `cpu`, `cuda` or `trt`; the whole graph must run there. ONNX Runtime reads the graph for `trt` as well.
        largest_batch: most pictures in a run, if the graph takes any number.
        threads: CPU threads per run, None for all cores.

    Attributes:
        path: the file.
        device: where it runs.
        metadata: what its exporter wrote into it.
        inputs: all inputs.
        outputs: all outputs.
        picture: the input that takes pictures.
        sizes: the input that takes the sizes of pictures, int `[n, 2]`, as RT-DETR and D-FINE have it; None if there
            is none.
        is_planar: pictures are `[n, 3, H, W]`, not `[n, H, W, 3]`.
        batch: number of pictures in a run; None if it is free.
        height: height of the pictures; None if it is free.
        width: width of the pictures; None if it is free.

    Raises:
        InputError: the file cannot be read, or its inputs are not those of a detector.
        BackendError: the library of the device is not installed, does not provide it, cannot load the graph, or would
            run part of it elsewhere.
    """

    def __init__(self, path: Path, *, device: str, largest_batch: int, threads: int | None) -> None:
        self.path, self.device = path, device
        model = _read(path)
        self._session = _open(path, model, "cpu" if device == "trt" else device, threads)
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.inputs = tuple(_port(node) for node in self._session.get_inputs())
        self.outputs = tuple(_port(node) for node in self._session.get_outputs())
        pictures = [port for port in self.inputs if _takes_pictures(port)]
        others = [port for port in self.inputs if not _takes_pictures(port)]
        sizes = [port for port in others if port.dtype in SIZE_DTYPES and port.shape[1:] == (2,)]
        if len(pictures) != 1 or len(sizes) > 1 or sizes != others:
            raise InputError(
                f"detector {path}: expected one input for pictures, [n, 3, H, W] or [n, H, W, 3] in "
                f"{', '.join(PICTURE_DTYPES)}, and at most one for their sizes, [n, 2]\n{self.listing()}"
            )
        self.picture, self.sizes = pictures[0], sizes[0] if sizes else None
        self.is_planar = self.picture.shape[1] == 3
        self.batch = self.picture.shape[0]
        self.height, self.width = self.picture.shape[2:] if self.is_planar else self.picture.shape[1:3]
        if device == "trt":
            self._engine = self._open_engine(model, self.batch or largest_batch)

    def run(self, pictures: AnyArray, size: tuple[int, int]) -> dict[str, AnyArray]:
        """The outputs by name, in the order of the graph.

        Args:
            pictures: as `picture` wants them.
            size: width and height for the input `sizes`, the same for all pictures.

        Raises:
            BackendError: ONNX Runtime or TensorRT failed.
        """
        feeds = {self.picture.name: pictures}
        if self.sizes is not None:
            feeds[self.sizes.name] = np.tile(np.array(size, self.sizes.dtype), (len(pictures), 1))
        if self.device == "trt":
            given = self._engine.run_all(feeds)
            return {port.name: given[port.name] for port in self.outputs}
        if self.device == "cpu":
            try:
                values = self._session.run(None, feeds)
            except Exception as error:  # ONNX Runtime raises its own classes, which share no base but Exception
                raise BackendError(
                    f"detector {self.path}: ONNX Runtime failed on pictures {pictures.dtype} {list(pictures.shape)}: "
                    f"{first_line(error)}"
                ) from error
        else:
            on_device = {name: to_device(array, self.device) for name, array in feeds.items()}
            values = run_on_device(self._session, on_device, self.device)
        return {port.name: value for port, value in zip(self.outputs, values, strict=True)}

    def _open_engine(self, model: bytes, batch: int) -> TensorRTBackend:
        from sal_runtime.engines.tensorrt.backend import open_tensorrt_backend
        from sal_runtime.engines.tensorrt.key import Profile

        if self.height is None or self.width is None:
            raise BackendError(
                f"detector {self.path}: it takes pictures of any size, and TensorRT needs one; export it with a fixed "
                "size, its batch may stay free",
                parameter="device",
            )
        profile = Profile(batch if self.batch else 1, batch, batch)
        try:
            return open_tensorrt_backend(model, precision=None, profile=profile)
        except BackendError as error:
            raise BackendError(f"detector {self.path}: {error}") from error

    def listing(self, outputs: Mapping[str, AnyArray] | None = None) -> str:
        """Inputs, outputs and metadata, a line each.

        Args:
            outputs: what a run gave, whose shapes are shown; None for the shapes that the graph states.
        """
        lines = [f"  input   {port}" for port in self.inputs]
        for port in self.outputs:
            given = None if outputs is None else outputs[port.name]
            lines.append(f"  output  {port if given is None else Port(port.name, str(given.dtype), given.shape)}")
        for key, text in self.metadata.items():
            lines.append(f"  {key}: {text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + ' ...'}")
        return "\n".join(lines if self.metadata else [*lines, "  no metadata"])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"detector {path}: {error.strerror}") from error


def _open(path: Path, model: bytes, device: str, threads: int | None) -> Any:
    try:
        return open_session(model, device=device, threads=threads)
    except BackendError as error:
        weights = path.with_name(f"{path.name}.data")
        remedy = f"; its weights are in {weights.name}: export it again as one file" if weights.exists() else ""
        raise BackendError(f"detector {path}: {error}{remedy}") from error


def _port(node: Any) -> Port:
    shape = tuple(length if isinstance(length, int) and length > 0 else None for length in node.shape or ())
    return Port(node.name, DTYPES.get(node.type, node.type), shape)


def _takes_pictures(port: Port) -> bool:
    return len(port.shape) == 4 and (port.shape[1] == 3) != (port.shape[3] == 3) and port.dtype in PICTURE_DTYPES
