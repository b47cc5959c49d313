"""The DeepStream configuration: what nvinfer would feed the graph, worked out from the file, gives our embeddings."""

from __future__ import annotations

import configparser
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import sal_export.interop.deepstream
from sal_export.interop.deepstream import float_graph, write_deepstream_config
from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.bundle.shipped import default_bundle_path
from sal_runtime.encoding.encoders import ImageEncoder
from sal_runtime.engines.devices import open_backend
from sal_runtime.errors import BackendError, InputError, ParityError
from tests.runtime.tiny_bundle import make_tiny_bundle


def read_config(path: Path) -> dict[str, str]:
    parser = configparser.ConfigParser(comment_prefixes=("#",), delimiters=("=",))
    parser.read(path, encoding="utf-8")
    assert parser.sections() == ["property"]
    return dict(parser["property"])


def as_nvinfer_feeds_it(crops: NDArray[np.uint8], config: dict[str, str]) -> NDArray[np.float32]:
    """Pixels uint8 RGB [N, H, W, 3] to the engine's input, by nvinfer's rule y = net-scale-factor * (x - offset)."""
    assert config["model-color-format"] == "0"  # RGB; 1 is BGR
    scale = np.float32(config["net-scale-factor"])
    offsets = np.array([float(value) for value in config["offsets"].split(";")], dtype=np.float32)
    values = scale * (crops.astype(np.float32) - offsets)
    if config["network-input-order"] == "0":
        values = values.transpose(0, 3, 1, 2)
    channels, height, width = (int(value) for value in config["infer-dims"].split(";"))
    assert values.shape[1:] == (channels, height, width)
    return np.ascontiguousarray(values)


def random_crops(bundle: Bundle, count: int) -> NDArray[np.uint8]:
    shape = (count, bundle.image_spec.height, bundle.image_spec.width, 3)
    return np.random.default_rng(count).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 2, 17])
def test_what_nvinfer_feeds_gives_the_same_embeddings(bundle: Bundle, tmp_path: Path, count: int) -> None:
    config = read_config(write_deepstream_config(bundle, tmp_path / "deepstream"))
    model = (tmp_path / "deepstream" / config["onnx-file"]).read_bytes()
    crops = random_crops(bundle, count)
    got = open_backend(model).run(as_nvinfer_feeds_it(crops, config))
    assert np.abs(got - ImageEncoder(bundle).encode(crops)).max() < 1e-6  # other fusions sum in another order


def test_the_graph_is_one_that_tensorrt_takes(bundle: Bundle, tmp_path: Path) -> None:
    config = read_config(write_deepstream_config(bundle, tmp_path / "deepstream"))
    model = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "deepstream" / config["onnx-file"]))
    (source,), (output,) = model.graph.input, model.graph.output
    assert source.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    shape = [axis.dim_param or axis.dim_value for axis in source.type.tensor_type.shape.dim]
    assert shape == ["batch", *map(int, config["infer-dims"].split(";"))]
    assert [axis.dim_param or axis.dim_value for axis in output.type.tensor_type.shape.dim] == [
        "batch",
        bundle.embedding_dim,
    ]
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    assert len(types) > 2
    assert onnx.TensorProto.UINT8 not in types.values()


def test_the_configuration(tiny: Bundle, tmp_path: Path) -> None:
    path = write_deepstream_config(tiny, tmp_path / "deepstream", max_batch=8, gie_id=5, detector_id=3, person_class=2)
    config = read_config(path)
    expected = {
        "gie-unique-id": "5",
        "operate-on-gie-id": "3",
        "operate-on-class-ids": "2",
        "process-mode": "2",
        "network-type": "100",
        "output-tensor-meta": "1",
        "network-mode": "0",
        "batch-size": "8",
        "maintain-aspect-ratio": "0",
        # the name nvinfer itself gives the engine that it builds
        "model-engine-file": f"{config['onnx-file']}_b8_gpu0_fp32.engine",
    }
    assert {key: config[key] for key in expected} == expected
    text = path.read_text(encoding="utf-8")
    assert tiny.fingerprint[:12] in text
    assert "Apache-2.0" in text


def test_a_name_or_licence_of_several_lines_stays_in_the_comment(tmp_path: Path) -> None:
    bundle = open_bundle(make_tiny_bundle(tmp_path / "bundle", name="yard\n[property]\nnetwork-mode=2 {x}"))
    config = read_config(write_deepstream_config(bundle, tmp_path / "deepstream"))
    assert config["network-mode"] == "0"


def test_a_graph_that_differs_is_not_written(tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = open_bundle(make_tiny_bundle(tmp_path / "other", seed=1)).read_bytes("image_encoder.onnx")
    rewritten = float_graph(other, tiny.image_spec)
    monkeypatch.setattr(sal_export.interop.deepstream, "float_graph", lambda *arguments: rewritten)
    with pytest.raises(ParityError, match="differ by"):
        write_deepstream_config(tiny, tmp_path / "deepstream")
    assert not (tmp_path / "deepstream").exists()


def test_engines_go_with_the_graph_they_were_built_from(tiny: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "deepstream"
    config = read_config(write_deepstream_config(tiny, out))
    (out / config["model-engine-file"]).write_bytes(b"built by nvinfer")
    write_deepstream_config(tiny, out)
    assert sorted(path.name for path in out.iterdir()) == ["config_infer_sal.txt", config["onnx-file"], "sal.json"]
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds notes\.txt, which `sal bundle deepstream` did not write"):
        write_deepstream_config(tiny, out)


def test_without_onnx_the_extra_is_named(tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(BackendError, match=r'pip install "\.\[export\]"'):
        write_deepstream_config(tiny, tmp_path / "deepstream")


def test_tensorrt_builds_it(tmp_path: Path) -> None:
    trt = pytest.importorskip(
        "tensorrt_rtx", reason="TensorRT-RTX, which builds engines without a GPU, is not installed"
    )
    bundle = open_bundle(default_bundle_path())
    config = read_config(write_deepstream_config(bundle, tmp_path / "deepstream"))
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    assert parser.parse((tmp_path / "deepstream" / config["onnx-file"]).read_bytes()), parser.get_error(0).desc()
    dims = tuple(map(int, config["infer-dims"].split(";")))
    batch = int(config["batch-size"])
    profile = builder.create_optimization_profile()
    profile.set_shape(network.get_input(0).name, (1, *dims), (batch, *dims), (batch, *dims))
    settings = builder.create_builder_config()
    settings.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, settings) is not None
