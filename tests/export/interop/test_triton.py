"""The Triton repository: parsed as protobuf, and compared with the graphs that it serves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from hypothesis import given
from hypothesis import strategies as st

from sal_export import directories
from sal_export.interop.triton import quoted, write_triton_repository
from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.engines.devices import open_backend
from sal_runtime.errors import BundleError, InputError, SalError
from tests.runtime.tiny_bundle import make_tiny_bundle

REPOSITORY = Path(__file__).parents[3]

# The fields that we write, with the numbers and types of model_config.proto in triton-inference-server/common. A field
# of another name, or a value of another type, does not parse.
ENUMS = {
    "DataType": {"TYPE_INVALID": 0, "TYPE_UINT8": 2, "TYPE_FP32": 11},
    "Format": {"FORMAT_NONE": 0, "FORMAT_NHWC": 1, "FORMAT_NCHW": 2},
    "Kind": {"KIND_AUTO": 0, "KIND_GPU": 1, "KIND_CPU": 2, "KIND_MODEL": 3},
}
MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "ModelInput": {
        "name": (1, "string"),
        "data_type": (2, "DataType"),
        "format": (3, "Format"),
        "dims": (4, "repeated int64"),
    },
    "ModelOutput": {"name": (1, "string"), "data_type": (2, "DataType"), "dims": (3, "repeated int64")},
    "ModelDynamicBatching": {"preferred_batch_size": (1, "repeated int32")},
    "ModelInstanceGroup": {"count": (2, "int32"), "kind": (4, "Kind")},
    "ModelParameter": {"string_value": (1, "string")},
    # how protobuf defines a map<string, ModelParameter>
    "ParametersEntry": {"key": (1, "string"), "value": (2, "ModelParameter")},
    "ModelConfig": {
        "name": (1, "string"),
        "max_batch_size": (4, "int32"),
        "input": (5, "repeated ModelInput"),
        "output": (6, "repeated ModelOutput"),
        "instance_group": (7, "repeated ModelInstanceGroup"),
        "dynamic_batching": (11, "ModelDynamicBatching"),
        "parameters": (14, "repeated ParametersEntry"),
        "backend": (17, "string"),
    },
}
SCALARS = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
}
ONNX_TYPES = {"TYPE_UINT8": onnx.TensorProto.UINT8, "TYPE_FP32": onnx.TensorProto.FLOAT}


def model_config_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="inference", syntax="proto3")
    for name, values in ENUMS.items():
        enum = file.enum_type.add(name=name)
        for value, number in values.items():
            enum.value.add(name=value, number=number)
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            label, _, type_name = kind.rpartition(" ")
            added = message.field.add(name=field, number=number)
            added.label = FieldDescriptorProto.LABEL_REPEATED if label else FieldDescriptorProto.LABEL_OPTIONAL
            if type_name in SCALARS:
                added.type = SCALARS[type_name]
            else:
                added.type = FieldDescriptorProto.TYPE_ENUM if type_name in ENUMS else FieldDescriptorProto.TYPE_MESSAGE
                added.type_name = f".inference.{type_name}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))


ModelConfig = model_config_class()


def parse(path: Path) -> Any:
    return text_format.Parse(path.read_text(encoding="ascii"), ModelConfig())


def graph_tensor(value: onnx.ValueInfoProto) -> tuple[str, int, list[Any]]:
    tensor = value.type.tensor_type
    return value.name, tensor.elem_type, [axis.dim_param or axis.dim_value for axis in tensor.shape.dim]


def test_the_configuration_is_that_of_the_graphs(bundle: Bundle, tmp_path: Path) -> None:
    models = write_triton_repository(bundle, tmp_path / "repository", max_batch=24, device="cuda")
    kinds = {"image_encoder": ENUMS["Kind"]["KIND_GPU"], "attribute_encoder": ENUMS["Kind"]["KIND_CPU"]}
    for role, model in zip(kinds, models, strict=True):
        folder = tmp_path / "repository" / f"sal_{bundle.name}_{role}"
        config = parse(folder / "config.pbtxt")
        assert config.name == folder.name == model.name
        assert config.backend == "onnxruntime"
        assert config.HasField("dynamic_batching")
        assert [(group.count, group.kind) for group in config.instance_group] == [(1, kinds[role])]
        graph = onnx.load(folder / "1" / "model.onnx").graph
        for served, values in ((config.input, graph.input), (config.output, graph.output)):
            (tensor,), (value,) = served, values
            name, elem_type, shape = graph_tensor(value)
            assert tensor.name == name
            assert ONNX_TYPES[ModelConfig.DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_number[
                tensor.data_type
            ].name] == elem_type  # fmt: skip
            assert ["batch", *tensor.dims] == shape
    assert parse(tmp_path / "repository" / models[0].name / "config.pbtxt").max_batch_size == 24


def test_the_served_encoders_are_those_of_the_bundle(bundle: Bundle, tmp_path: Path) -> None:
    image, attribute = write_triton_repository(bundle, tmp_path / "repository")
    for model, inputs, expected in (
        (image, bundle.golden["images"], bundle.golden["image_embeddings"]),
        (attribute, bundle.golden["attributes"].astype(np.float32), bundle.golden["attribute_embeddings"]),
    ):
        file = tmp_path / "repository" / model.name / "1" / "model.onnx"
        assert np.abs(open_backend(file.read_bytes()).run(inputs) - expected).max() < 1e-4


def test_a_client_can_check_what_is_served_and_knows_what_to_send(tiny: Bundle, tmp_path: Path) -> None:
    write_triton_repository(tiny, tmp_path / "repository")
    for role in ("image_encoder", "attribute_encoder"):
        config = parse(tmp_path / "repository" / f"sal_tiny_{role}" / "config.pbtxt")
        parameters = {entry.key: entry.value.string_value for entry in config.parameters}
        assert parameters["sal_fingerprint"] == tiny.fingerprint
        assert parameters["sal_artefact_sha256"] == tiny.manifest["files"][f"{role}.onnx"]["sha256"]
        assert parameters["sal_licence"] == "Apache-2.0"
        if role == "image_encoder":
            expected = tiny.manifest["image"]
            assert {key: parameters[f"sal_{key}"] for key in ("colour", "layout", "resize")} == {
                key: expected[key] for key in ("colour", "layout", "resize")
            }
            assert config.input[0].format == ENUMS["Format"]["FORMAT_NHWC"]
        else:
            assert parameters["sal_attributes"].split(",")[:4] == ["hat", "backpack", "female", "upper-colour=red"]


@given(st.text())
def test_any_text_survives_quoting(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates are no text
        return
    literal = quoted(text)
    assert literal.isascii()
    assert text_format.Parse(f"name: {literal}", ModelConfig()).name == text


def test_a_name_for_people_becomes_a_name_for_a_directory(tmp_path: Path) -> None:
    bundle = open_bundle(make_tiny_bundle(tmp_path / "bundle", name="Straße 4/../yard"))
    models = write_triton_repository(bundle, tmp_path / "repository")
    assert models[0].name == "sal_Stra_e_4_yard_image_encoder"
    assert parse(tmp_path / "repository" / models[0].name / "config.pbtxt").name == models[0].name


def test_a_precision_that_is_not_there_is_refused(tiny: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no image_encoder in int8 for cpu; there is fp32"):
        write_triton_repository(tiny, tmp_path / "repository", precision="int8")
    assert not (tmp_path / "repository").exists()


def test_a_repository_is_replaced_whole(tiny: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "repository"
    write_triton_repository(tiny, out)
    other = open_bundle(make_tiny_bundle(tmp_path / "other", name="other", seed=1))
    write_triton_repository(other, out)
    assert sorted(path.name for path in out.iterdir()) == [
        "sal.json",
        "sal_other_attribute_encoder",
        "sal_other_image_encoder",
    ]
    assert json.loads((out / "sal.json").read_text())["fingerprint"] == other.fingerprint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "other", "repository"]


def test_what_sal_did_not_write_stays(tiny: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "repository"
    (out / "mine").mkdir(parents=True)
    with pytest.raises(InputError, match="was not written by `sal bundle triton`; name another directory"):
        write_triton_repository(tiny, out)
    assert [path.name for path in out.iterdir()] == ["mine"]
    (out / "mine").rmdir()
    write_triton_repository(tiny, out)
    (out / "mine").mkdir()
    (out / "mine" / "config.pbtxt").write_text("name: 'mine'")
    with pytest.raises(InputError, match=r"holds mine/config\.pbtxt, which `sal bundle triton` did not write"):
        write_triton_repository(tiny, out)
    assert (out / "mine" / "config.pbtxt").exists()
    with pytest.raises(InputError, match="was not written by"):
        write_triton_repository(tiny, tmp_path / "bundle" / "manifest.json")


@pytest.mark.parametrize("failing", ["write_synced", "swap_in"])
def test_a_failure_while_writing_keeps_the_old_repository(
    tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    out = tmp_path / "repository"
    other = open_bundle(make_tiny_bundle(tmp_path / "other", name="other", seed=1))
    write_triton_repository(tiny, out)

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(directories, failing, fail)
    with pytest.raises(SalError, match="No space left on device; nothing has been changed"):
        write_triton_repository(other, out)
    assert json.loads((out / "sal.json").read_text())["fingerprint"] == tiny.fingerprint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "other", "repository"]


@pytest.mark.parametrize(
    "module",
    [
        "sal_export.interop.triton",
        "sal_export.interop.deepstream",
        "sal_export.interop.signing",
        "sal_cli.commands.bundle",
    ],
)
def test_importing_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "onnx", "onnxruntime", "model_signing", "sal_train"}
