"""`sal bench` as a person runs it. Nothing here looks at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import check_one_error, run_sal
from tests.runtime.tiny_bundle import make_tiny_bundle
from tests.runtime.varied_bundle import make_varied_bundle

REPOSITORY = Path(__file__).parents[3]
QUICK = ("--batch", 1, "--batch", 3, "--threads", 1, "--min-seconds", 0.01, "--device", "cpu")
LITE0 = {"backbone": "efficientnet_lite0", "height": 16, "width": 8, "feature_dim": 12, "embedding_dim": 8}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_varied_bundle(tmp_path / "tiny", precisions=("int8",), model=LITE0).path


def test_the_table_fits_a_terminal(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run_sal(capsys, "bench", "engine", "--bundle", bundle, *QUICK, "--streams", 2)
    assert code == 0
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("bundle tiny (")
    assert "threads 1, streams 2" in lines[1]
    for size in (1, 3):
        start = next(number for number, line in enumerate(lines) if line.startswith(f"batch of {size} "))
        rows = [line.split() for line in lines[start + 1 : start + 5]]
        assert [row[0] for row in rows] == ["image_encoder", "image_encoder.int8", "attribute_encoder", "pytorch"]
        assert rows[1][1:3] == ["int8", "cpu"]
        assert rows[0][4] == "1.00"  # relative to itself


def test_one_json_document_the_same_in_the_file(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out_file = tmp_path / "engine.json"
    code, out, err = run_sal(capsys, "bench", "engine", "--bundle", bundle, *QUICK, "--json", "--out", out_file)
    assert code == 0
    assert err == f"wrote {out_file}\n"
    document = json.loads(out)
    assert document == json.loads(out_file.read_text())
    found = [(row["batch"], row["artefact"], row["precision"]) for row in document["rows"]]
    assert found == [
        (size, *what)
        for size in (1, 3)
        for what in (
            ("image_encoder.onnx", "fp32"),
            ("image_encoder.int8.onnx", "int8"),
            ("attribute_encoder.onnx", "fp32"),
            ("pytorch eager", "fp32"),
        )
    ]
    assert all(row["iterations"] >= 10 for row in document["rows"])
    assert str(tmp_path) not in out


def test_an_older_bundle_has_no_row_of_pytorch_and_one_line_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = make_tiny_bundle(tmp_path / "old")
    code, out, err = run_sal(capsys, "bench", "engine", "--bundle", old, *QUICK, "--json")
    assert code == 0
    assert "pytorch eager" not in {row["artefact"] for row in json.loads(out)["rows"]}
    assert len(err.splitlines()) == 1
    assert err.startswith("sal: not measured: pytorch eager: ")


def test_a_plot(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra plot")
    code, _, err = run_sal(capsys, "bench", "engine", "--bundle", bundle, *QUICK, "--plot", tmp_path / "plot.svg")
    assert (code, err) == (0, f"wrote {tmp_path / 'plot.svg'}\n")
    text = (tmp_path / "plot.svg").read_text()
    assert "<!-- image encoder of tiny (" in text
    assert "attribute_encoder" not in text


def test_errors_are_one_line(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def bench(*arguments: object) -> tuple[int, str, str]:
        return run_sal(capsys, "bench", "engine", "--bundle", bundle, *QUICK, *arguments)

    check_one_error(bench("--device", "abacus"), 2, "--device abacus: expected one of cpu, cuda, trt")
    check_one_error(bench("--precision", "fp16"), 2, "no image_encoder in fp16")
    check_one_error(bench("--out", tmp_path / "none" / "x.json"), 2, "does not exist")
    check_one_error(bench("--plot", tmp_path / "x.png"), 2, ".svg")
    check_one_error(bench("--run", tmp_path), 2, "finished training run")


def test_golden_vectors_that_do_not_hold_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = make_tiny_bundle(tmp_path / "wrong", seed=1)  # another image encoder, the same golden vectors
    outcome = run_sal(capsys, "bench", "engine", "--bundle", wrong, *QUICK, "--json")
    check_one_error(outcome, 1, "image_encoder.onnx on cpu", "golden embeddings")


def test_without_pytorch_it_still_measures(bundle: Path) -> None:
    """In a process in which PyTorch cannot be found at all."""
    code = (
        "import sys, importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "import cli\n"
        "try:\n    cli.main(sys.argv[1:])\nfinally:\n    assert 'torch' not in sys.modules\n"
    )
    command = [sys.executable, "-c", code, "bench", "engine", "--bundle", str(bundle), *map(str, QUICK), "--json"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "PyTorch is not installed" in done.stderr
    assert len(json.loads(done.stdout)["rows"]) == 2 * 3


def test_encoding_and_searching_are_measured_too(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out_file, plot = tmp_path / "encode.json", tmp_path / "encode.svg"
    files = ("--out", out_file, "--plot", plot)
    code, out, _ = run_sal(capsys, "bench", "encode", "--bundle", bundle, "--images", 40, "--rounds", 1, *files)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    document = json.loads(out_file.read_text())
    assert {row["contender"] for row in document["rows"]} == set(document["contenders"])
    assert plot.read_bytes().lstrip().startswith(b"<?xml")
    quick = ("--items", 2000, "--dimension", 16, "--queries", 9, "--min-seconds", 0.01, "-k", 3)
    code, out, _ = run_sal(capsys, "bench", "search", *quick, "--json")
    assert code == 0
    names = [row["contender"] for row in json.loads(out)["rows"]]
    libraries = run_sal(capsys, "bench", "search", *quick)[1].splitlines()[1].split(", ")
    assert len(libraries) == len(set(libraries)) >= 3
    assert {"sal", "sal, without codes", "faiss IndexFlatIP", "usearch exact"} <= set(names)
