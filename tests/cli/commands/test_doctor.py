"""`sal doctor` as a person runs it: a table of 80 columns or one JSON document, and an exit code to rely on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from sal_cli.commands.doctor import doctor
from sal_runtime.doctor.machine import int8_instructions
from sal_runtime.engines.devices import DEVICE_ENTRIES, DeviceEntry
from tests.command_line import Outcome
from tests.runtime.tiny_bundle import make_tiny_bundle

Doctor = Callable[..., Outcome]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("doctor") / "tiny")


@pytest.fixture
def run_doctor(tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Runs the command where neither CUDA nor TensorRT can be had; gives exit code, stdout and stderr."""
    monkeypatch.setenv("SAL_BUNDLE", str(tiny))
    for device in ("cuda", "trt"):
        entry = DeviceEntry("tests.runtime.fake_backends:open_refused", DEVICE_ENTRIES[device].extra)
        monkeypatch.setitem(DEVICE_ENTRIES, device, entry)
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(doctor)

    def run(*arguments: str) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            app(list(arguments), prog_name="doctor")
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


def test_a_machine_that_works(run_doctor: Doctor) -> None:
    pytest.importorskip("onnxruntime")
    code, out, err = run_doctor()
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[:2] for line in lines if line.startswith(("cpu", "cuda", "trt"))] == [
        ["cpu", "yes"],
        ["cuda", "no"],
        ["trt", "no"],
    ]
    assert lines[0] == "ready: cpu works; 2 devices not usable"


@pytest.mark.parametrize(
    ("flags", "said"), [("avx2 avx512f", True), ("avx2 avx_vnni", False), ("avx2 avx512_vnni", False), ("", True)]
)
def test_a_processor_without_vnni_is_told(
    flags: str, said: bool, run_doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    found = int8_instructions(f"model name\t: drawn\nflags\t\t: fpu sse2 {flags}\n")
    monkeypatch.setattr("sal_runtime.doctor.doctor.int8_instructions", lambda: found)
    code, out, _ = run_doctor()
    assert code == 0
    assert ("without VNNI int8 is exact, but may be no faster than fp32" in " ".join(out.split())) == said


def test_json_is_one_document(run_doctor: Doctor) -> None:
    pytest.importorskip("onnxruntime")
    code, out, err = run_doctor("--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["ok"] is True
    assert [device["works"] for device in document["devices"]] == [True, False, False]
    assert document["devices"][1]["extra"] == "gpu"
    assert document["bundle"]["name"] == "tiny"


@pytest.mark.parametrize(("device", "expected"), [("cpu", 0), ("cuda", 1), ("trt", 1), ("auto", 0), ("tpu", 2)])
def test_the_exit_code_is_that_of_the_device(run_doctor: Doctor, device: str, expected: int) -> None:
    pytest.importorskip("onnxruntime")
    assert run_doctor("--device", device)[0] == expected


def test_what_is_broken_is_reported_and_not_a_traceback(
    run_doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.zip").write_bytes(b"no archive")
    for bundle in ("nowhere", str(tmp_path / "notes.zip"), str(tmp_path)):
        code, out, err = run_doctor("--bundle", bundle)
        assert (code, err) == (1, "")
        assert out.startswith("not ready: the bundle is not whole")
        assert "bundle bundle" not in " ".join(out.split())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    code, out, err = run_doctor("--json")
    assert (code, err) == (1, "")
    assert "not installed" in json.loads(out)["devices"][0]["problem"]
