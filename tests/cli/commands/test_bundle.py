"""`sal bundle` as a person runs it."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from sal_export.bundle_writing import write_bundle
from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.bundle.shipped import default_bundle_path
from tests.command_line import check_one_error, run_sal
from tests.runtime.tiny_bundle import make_tiny_bundle


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return make_tiny_bundle(tmp_path / "tiny")


def test_show_for_people(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAL_BUNDLE", raising=False)
    bundle = open_bundle(default_bundle_path())
    code, out, err = run_sal(capsys, "bundle", "show")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"path        {bundle.path}"
    assert max(len(line) for line in lines[1:]) <= 80
    size = f"{bundle.image_spec.height} x {bundle.image_spec.width} RGB"
    for word in (bundle.fingerprint[:12], size, "age ◆, gender ◆", "calibrated", "Research use only"):
        assert word in out
    assert f"mAP {100 * bundle.manifest['metrics']['mAP']:.1f}" in out
    rows = [line for line in lines if line.startswith("image ")]
    shown = [("fp16", "cpu/cuda/trt"), ("fp32", "cpu/cuda/trt"), ("int8", "cpu/cuda"), ("int8", "trt")]
    for row, (precision, devices) in zip(rows, shown, strict=True):
        assert row.split()[1:3] == [precision, devices]
        encoder = bundle.artefact("image_encoder", device=devices.rpartition("/")[2], precision=precision)
        assert f"{encoder.parity['max_abs']:.1e}" in row


def test_show_of_a_bundle_of_which_little_is_known(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run_sal(capsys, "bundle", "show", "--bundle", tiny)
    assert code == 0
    assert "not calibrated" in out
    assert "not measured" in out
    assert "gender ◆" in out


def test_show_names_what_the_gate_refused(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = json.loads((tiny / "manifest.json").read_text())
    files = {name: (tiny / name).read_bytes() for name in manifest["files"]}
    reasons = ["mAP falls by 2.00 points of at most 1.0 (300 queries; probability of chance 0 %)"]
    refused = {"role": "image_encoder", "precision": "int8", "devices": ["trt"], "refusals": reasons}
    write_bundle(tiny, {**manifest, "refused": [refused]}, files)
    code, out, _ = run_sal(capsys, "bundle", "show", "--bundle", tiny)
    assert code == 0
    assert f"refused int8 for trt: {reasons[0]}" in " ".join(out.split())
    assert json.loads(run_sal(capsys, "bundle", "show", "--bundle", tiny, "--json")[1])["refused"] == [refused]


def test_show_for_programs(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run_sal(capsys, "bundle", "show", "--bundle", tiny, "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["fingerprint"] == open_bundle(tiny).fingerprint
    assert document["schema"] == {"name": "tiny", "groups": 5, "attributes": 8, "sensitive": ["gender"]}
    assert document["metrics"] is None
    assert [artefact["role"] for artefact in document["artefacts"]] == ["image_encoder", "attribute_encoder"]
    for artefact in document["artefacts"]:
        assert artefact["bytes"] == (tiny / artefact["file"]).stat().st_size


def test_engine_names_what_the_bundle_has_and_how_to_get_the_rest(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = ("bundle", "engine", "--bundle", tiny, "--compute-capability", "8.9")
    done = run_sal(capsys, *engine, "--precision", "int8", "--precision", "fp16")
    check_one_error(done, 2, "has no int8 and no fp16 encoder for TensorRT, only fp32")
    assert "export the run again in int8-trt and fp16, which needs no GPU" in done[2]


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="tensorrt-rtx, which builds engines without a GPU, is not installed",
)
def test_engine_builds_what_the_bundle_has(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    code, out, _ = run_sal(capsys, "bundle", "engine", "--bundle", tiny, "--compute-capability", "8.9", "--json")
    assert code == 0
    assert [engine["key"]["precision"] for engine in json.loads(out)["engines"]] == ["fp32"]


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="tensorrt-rtx, which builds engines without a GPU, is not installed",
)
def test_the_shipped_bundle_becomes_an_engine_in_every_precision(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """NVIDIA's parser takes what was written without a GPU, and finds the products in their precision."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    command = ("bundle", "engine", "--bundle", default_bundle_path(), "--compute-capability", "8.6", "--json")
    code, out, _ = run_sal(capsys, *command)
    assert code == 0
    counts = {engine["key"]["precision"]: engine["proof"]["graph"] for engine in json.loads(out)["engines"]}
    assert sorted(counts) == ["fp16", "fp32", "int8"]
    products = sum(counts["fp32"].values())
    for precision, found in counts.items():
        assert max(found, key=lambda kind: found[kind]) == precision
        assert found[precision] > 0.7 * products
    assert counts["fp32"] == {"fp32": products}


def test_triton(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out_path = tmp_path / "repository"
    arguments = ("bundle", "triton", "--bundle", tiny, "--out", out_path)
    code, out, err = run_sal(capsys, *arguments)
    assert (code, err) == (0, "")
    assert all((Path(line) / "config.pbtxt").is_file() for line in out.splitlines())
    code, out, _ = run_sal(capsys, *arguments, "--max-batch", 4, "--device", "cuda", "--json")
    assert code == 0
    image, attribute = json.loads(out)["models"]
    assert image["input"] == ["images", "TYPE_UINT8", [-1, 16, 8, 3]]
    assert (image["max_batch_size"], image["device"], attribute["device"]) == (4, "cuda", "cpu")
    check_one_error(run_sal(capsys, *arguments, "--precision", "fp16"), 2, "no image_encoder in fp16")
    check_one_error(run_sal(capsys, "bundle", "triton", "--bundle", tiny, "--out", tiny), 2, "name another directory")
    assert open_bundle(tiny).name == "tiny"


def test_deepstream(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("bundle", "deepstream", "--bundle", tiny, "--out", tmp_path / "deepstream", "--detector-id", 7)
    code, out, err = run_sal(capsys, *arguments)
    assert (code, err) == (0, "")
    assert "operate-on-gie-id=7\n" in Path(out.strip()).read_text()
    code, out, _ = run_sal(capsys, *arguments, "--json")
    assert code == 0
    assert json.loads(out)["fingerprint"] == open_bundle(tiny).fingerprint
    check_one_error(run_sal(capsys, "bundle", "deepstream", "--bundle", tmp_path, "--out", "x"), 2, "manifest.json")


def test_words_for_people_and_for_programs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAL_BUNDLE", raising=False)
    code, out, err = run_sal(capsys, "bundle", "words")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert max(len(line) for line in lines) <= 80
    bundle = open_bundle(default_bundle_path())
    rate = bundle.manifest["metrics"]["recognition"]["by_attribute"]["backpack"]
    measured = [rate["true_positive_rate"], rate["precision"], rate["precision_at_forty"]]
    cells = [*(f"{share:.0%}" for share in measured), f"{rate['people']:,}"]
    row = next(line for line in lines if line.startswith("backpack "))
    assert row.split() == ["backpack", *cells, "rucksack,", "knapsack"]
    assert lines[0].split() == ["word", "found", "right", "at", "40", "people", "other", "words", "for", "it"]
    assert any(line.startswith("age ◆") for line in lines)
    assert lines[lines.index(row) + 1].startswith("  no-backpack ")
    document = json.loads(run_sal(capsys, "bundle", "words", "--json")[1])
    assert [group["group"] for group in document["groups"] if group["sensitive"]] == ["age", "gender"]
    synonyms = lines[0].index("other words")
    assert all(line[synonyms - 2 : synonyms].isspace() for line in lines[: lines.index("")] if len(line) > synonyms)
    assert [len(group["values"]) for group in document["groups"]] == [
        len(group.states) for group in bundle.schema.groups
    ]


def test_words_of_a_bundle_that_was_not_measured(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run_sal(capsys, "bundle", "words", "--bundle", tiny)
    assert code == 0
    assert ["hat", "-", "-", "-", "-", "cap,", "beanie"] in [line.split() for line in out.splitlines()]


@pytest.mark.skipif(
    importlib.util.find_spec("model_signing") is None, reason="the extra `sign` (model-signing) is not installed"
)
def test_sign_and_verify(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = ec.generate_private_key(ec.SECP256R1())
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    verify = ("bundle", "verify", "--bundle", tiny, "--key", public)
    code, out, err = run_sal(capsys, *verify)
    assert (code, err) == (1, "")
    assert out == f"{tiny} is not signed: no model.sig in it (exporting or attaching metrics anew removes it)\n"
    assert run_sal(capsys, "bundle", "sign", "--bundle", tiny, "--key", private) == (0, f"{tiny / 'model.sig'}\n", "")
    assert run_sal(capsys, *verify) == (0, "ok\n", "")
    (tiny / "heads.npz").write_bytes(b"")
    code, out, err = run_sal(capsys, *verify, "--json")
    assert (code, err) == (1, "")
    document = json.loads(out)
    assert document["ok"] is False
    assert "heads.npz" in document["problems"][0]
    wrong = run_sal(capsys, "bundle", "verify", "--bundle", tiny, "--key", tmp_path / "nothing.pem")
    check_one_error(wrong, 2, "nothing.pem", "No such file")


def test_verify_runs_the_gate_on_this_machine(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify = ("bundle", "verify", "--bundle", tiny)
    gallery = Path(__file__).parents[3] / "demo" / "gallery"
    code, out, err = run_sal(capsys, *verify, "--gate", gallery)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("processor ")
    assert lines[1].split() == ["crops", "256"]
    (row,) = [line.split() for line in lines if line.startswith("image_encoder.onnx")]
    assert row[1:4] == ["cpu", "1.00000", "-"]
    assert lines[-1] == "ok"
    document = json.loads(run_sal(capsys, *verify, "--gate", gallery, "--json")[1])
    assert (document["ok"], document["crops"], len(document["encoders"])) == (True, 256, 1)
    check_one_error(run_sal(capsys, *verify), 2, "--key", "--gate")
    check_one_error(run_sal(capsys, *verify, "--gate", tmp_path / "nowhere"), 2, "there is no such folder")
    check_one_error(run_sal(capsys, *verify, "--key", tiny / "manifest.json", "--device", "cpu"), 2, "add --gate")
    code, out, err = run_sal(capsys, *verify, "--gate", gallery, "--device", "cuda")
    assert code == 1
    assert "image_encoder.onnx on cuda: device cuda: this ONNX Runtime" in out


def test_without_the_library_the_extra_is_named(
    tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    for command in ("sign", "verify"):
        outcome = run_sal(capsys, "bundle", command, "--bundle", tiny, "--key", tiny / "manifest.json")
        check_one_error(
            outcome, 1, "model-signing cannot be imported", 'in the checkout of sal: `pip install ".[sign]"`'
        )


@pytest.mark.parametrize("command", ["show", "words", "sign", "verify", "engine", "triton", "deepstream"])
def test_help_teaches_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run_sal(capsys, "bundle", command, "--help")
    assert code == 0
    assert f"sal bundle {command} --" in out
