"""cpp_bench built with sanitizers, its own tests, and the program beside sal_runtime on the same bundles."""

from __future__ import annotations

import fcntl
import glob
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sal_export.bundle_writing import write_bundle
from sal_runtime.bundle.bundle import GOLDEN, MANIFEST, MANIFEST_HASH, open_bundle
from sal_runtime.encoding.encoders import AttributeEncoder, ImageEncoder
from tests.runtime.tiny_bundle import DIM, make_tiny_bundle

REPOSITORY = Path(__file__).parents[2]
SOURCE = REPOSITORY / "cpp_bench"
EDGE = REPOSITORY / "bundles" / "edge"
LONGEST_FILE = 250
QUICK = ("--min-seconds", "0.01", "--batch", "2")

pytestmark = pytest.mark.slow  # a minute or two to compile; later runs only compile what has changed


@pytest.fixture(scope="module")
def build() -> Path:
    """The build folder, kept between runs in the user's cache: one for each checkout."""
    for program in ("cmake", "c++", "make"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed; cpp_bench/README.md lists the packages")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sal-tests"
    folder = cache / f"cpp_bench-{hashlib.sha256(str(SOURCE).encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        configured = run("cmake", "-S", SOURCE, "-B", folder, "-DSAL_SANITIZE=ON")
        missing = re.search(r"(\S+) is missing; on Debian or Ubuntu: apt-get install", configured.stderr)
        if missing:
            pytest.skip(f"Debian package {missing[1]} is not installed; cpp_bench/README.md lists them all")
        assert configured.returncode == 0, configured.stderr
        built = run("cmake", "--build", folder, "--parallel", "2")
        assert built.returncode == 0, built.stdout + built.stderr
    return folder


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def library() -> str:
    """As cpp_bench/README.md says to find it."""
    (code,) = re.findall(r'^python -c "(.*)"$', (SOURCE / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return run(sys.executable, "-c", code).stdout.strip()


def bench(
    build: Path, *arguments: str | Path, onnxruntime: str | None = None, environment: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the program; leaks are errors, but for those inside ONNX Runtime (1.20 has some)."""
    return run(
        build / "sal_bench",
        *arguments,
        SAL_ONNXRUNTIME=library() if onnxruntime is None else onnxruntime,
        VIRTUAL_ENV=environment,
        LSAN_OPTIONS=f"suppressions={SOURCE / 'tests' / 'leaks.supp'}:print_suppressions=0",
    )


def check_one_error(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """This exit code, one line on stderr with these words, and nothing on stdout."""
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("sal_bench: error: ")
    for word in words:
        assert word in line


def changed_bundle(source: Path, destination: Path, files: dict[str, bytes], artefacts: list[dict[str, Any]]) -> Path:
    """A copy with other files and further artefacts, with hashes that fit."""
    bundle = open_bundle(source)
    manifest = {
        key: value for key, value in bundle.manifest.items() if key not in ("format_version", "fingerprint", "files")
    }
    manifest["artefacts"] = [*manifest["artefacts"], *artefacts]
    content = {name: bundle.read_bytes(name) for name in bundle.manifest["files"]} | files
    write_bundle(destination, manifest, content)
    return destination


def changed_golden(source: Path, **arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{**open_bundle(source).golden, **arrays})
    return buffer.getvalue()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


def test_files_stay_readable() -> None:
    files = [path for path in SOURCE.rglob("*") if path.suffix in (".cpp", ".hpp", ".cmake", ".txt")]
    assert len(files) > 20
    for path in files:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= LONGEST_FILE, path.name
        assert all(len(line) <= 120 for line in lines), path.name


def test_its_own_tests_pass(build: Path) -> None:
    done = run("ctest", "--test-dir", build, "--output-on-failure")
    assert done.returncode == 0, done.stdout
    passed = re.search(r"100% tests passed, 0 tests failed out of (\d+)", done.stdout)
    assert passed
    assert int(passed[1]) > 30


def test_same_embeddings_as_the_python_runtime(build: Path, tmp_path: Path) -> None:
    done = bench(build, "--bundle", EDGE, *QUICK, "--dump-golden", tmp_path / "golden")
    assert (done.returncode, done.stderr) == (0, "")
    bundle = open_bundle(EDGE)
    encoded = {
        "image_encoder.onnx": ImageEncoder(bundle).encode(bundle.golden["images"]),
        "attribute_encoder.onnx": AttributeEncoder(bundle).encode(bundle.golden["attributes"]),
    }
    for file, expected in encoded.items():
        found = np.load(tmp_path / "golden" / f"{file}.npy", allow_pickle=False)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_json_document_of_the_shipped_bundle(build: Path, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    done = bench(build, "--bundle", EDGE, "--min-seconds=0.05", "--batch=1,3", "--threads=1,2", "--streams=1,2",
                 "--search=500", "--json", file)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert max(len(line) for line in done.stdout.splitlines() if not line.startswith("wrote ")) <= 80
    document = json.loads(file.read_text())
    keys = "tool command commit created machine versions bundle settings golden rows search"
    assert list(document) == keys.split()
    assert str(tmp_path) not in file.read_text()
    bundle = open_bundle(EDGE)
    assert document["bundle"] == {"name": bundle.name, "fingerprint": bundle.fingerprint}
    assert document["settings"] == {"warmup_ms": 200.0, "min_seconds": 0.05, "min_iterations": 10}
    assert list(document["machine"]) == ["cpu", "cores", "gpu", "os"]
    assert f"onnxruntime {document['versions']['onnxruntime']}" in done.stdout
    files = {"fp32": "image_encoder.onnx", "fp16": "image_encoder.fp16.onnx", "int8": "image_encoder.int8.onnx"}
    limits = {"attribute_encoder.onnx": (1e-4, 0.99999), files["fp32"]: (1e-4, 0.99999)}
    limits |= {files["fp16"]: (1e-2, 0.999), files["int8"]: (0.1, 0.95)}
    assert list(document["golden"]) == sorted(limits)
    for file, agreement in document["golden"].items():
        assert 0 <= agreement["max_abs"] <= limits[file][0]
        assert agreement["min_cosine"] > limits[file][1]

    keys = (
        "artefact precision device engine batch threads streams iterations seconds throughput latency_ms "
        "coefficient_of_variation stable"
    )
    settings = {(row["artefact"], row["batch"], row["threads"], row["streams"]) for row in document["rows"]}
    assert len(settings) == len(document["rows"]) == (1 + len(files)) * 2 * 2 * 2
    for row in document["rows"]:
        assert list(row) == keys.split()
        assert row["iterations"] >= 10 * row["streams"]
        assert row["seconds"] >= 0.05
        assert row["throughput"] == pytest.approx(row["batch"] * row["iterations"] / row["seconds"])
        assert row["stable"] == (row["coefficient_of_variation"] <= 0.10)
        check_latencies(row["latency_ms"])
        # each stream runs one after the other
        assert row["latency_ms"]["mean"] * row["iterations"] / 1e3 <= row["seconds"] * row["streams"]
    searches = [(row["items"], row["dim"], row["queries"], row["k"], row["threads"]) for row in document["search"]]
    assert searches == [(500, 128, queries, 10, threads) for threads in (1, 2) for queries in (1, 64)]
    for row in document["search"]:
        check_latencies(row["latency_ms"])


def check_latencies(latencies: dict[str, float]) -> None:
    assert list(latencies) == ["min", "mean", "median", "p90", "p95", "p99", "max"]
    ordered = [latencies[key] for key in ("min", "median", "p90", "p95", "p99", "max")]
    assert ordered == sorted(ordered)
    assert 0 < latencies["min"] <= latencies["mean"] <= latencies["max"]


def test_json_on_stdout_is_all_there_is_on_stdout(build: Path, tiny: Path) -> None:
    done = bench(build, "--bundle", tiny, *QUICK, "--json", "-")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert [row["artefact"] for row in document["rows"]] == ["image_encoder.onnx", "attribute_encoder.onnx"]
    assert "search" not in document


def test_precisions(build: Path, tiny: Path, tmp_path: Path) -> None:
    model = open_bundle(tiny).read_bytes("image_encoder.onnx")
    int8 = {"role": "image_encoder", "file": "image_encoder.int8.onnx", "precision": "int8"}
    bundle = changed_bundle(tiny, tmp_path / "both", {"image_encoder.int8.onnx": model}, [int8])

    def measured(*arguments: str) -> list[str]:
        document = json.loads(bench(build, "--bundle", bundle, *QUICK, "--json", "-", *arguments).stdout)
        return [row["precision"] for row in document["rows"] if row["artefact"] != "attribute_encoder.onnx"]

    assert measured() == ["fp32", "int8"]
    assert measured("--precision", "int8") == ["int8"]
    done = bench(build, "--bundle", bundle, "--precision", "fp16")
    check_one_error(done, 1, "no image_encoder in fp16; there is fp32, int8")


def test_encoders_for_other_engines_are_left_alone(build: Path, tiny: Path, tmp_path: Path) -> None:
    entry = {"role": "image_encoder", "file": "image_encoder.int8.trt.onnx", "precision": "int8", "devices": ["trt"]}
    changed = changed_bundle(tiny, tmp_path / "changed", {entry["file"]: b"not for ONNX Runtime"}, [entry])
    done = bench(build, "--bundle", changed, *QUICK)
    assert done.returncode == 0, done.stderr
    assert "int8" not in done.stdout
    check_one_error(bench(build, "--bundle", changed, *QUICK, "--precision", "int8"), 1, "no image_encoder in int8")


def test_finds_the_library_of_the_active_environment(build: Path, tiny: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    packages = environment / "lib" / "python3.99" / "site-packages" / "onnxruntime"
    packages.mkdir(parents=True)
    arguments = ("--bundle", tiny, *QUICK)
    done = bench(build, *arguments, onnxruntime="", environment=str(environment))
    check_one_error(done, 1, "ONNX Runtime not found", "nothing matches", "capi/libonnxruntime.so.*")
    (packages / "capi").symlink_to(Path(library()).parent)
    assert bench(build, *arguments, onnxruntime="", environment=str(environment)).returncode == 0


def test_without_onnxruntime(build: Path, tiny: Path, tmp_path: Path) -> None:
    done = bench(build, "--bundle", tiny, onnxruntime="")
    check_one_error(done, 1, "ONNX Runtime not found", "--onnxruntime", "$SAL_ONNXRUNTIME", "no virtual environment")
    check_one_error(
        bench(build, "--bundle", tiny, "--onnxruntime", tmp_path / "none.so"), 1, "cannot be loaded", "none.so"
    )
    (other,) = glob.glob(f"{Path(library()).parent}/libonnxruntime_providers_shared.so")
    check_one_error(bench(build, "--bundle", tiny, "--onnxruntime", other), 1, "is not ONNX Runtime")


def test_a_flipped_byte_is_named(build: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(EDGE, copy)
    content = bytearray((copy / "image_encoder.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "image_encoder.onnx").write_bytes(content)
    done = bench(build, "--bundle", copy)
    check_one_error(done, 1, "image_encoder.onnx has sha256", "the manifest says", "copy the bundle whole")


def test_what_is_missing_is_named(build: Path, tiny: Path, tmp_path: Path) -> None:
    check_one_error(bench(build, "--bundle", tmp_path / "none"), 1, "none: no such directory", "sal export")
    for file in (MANIFEST, MANIFEST_HASH, GOLDEN, "attribute_encoder.onnx"):
        copy = tmp_path / file
        shutil.copytree(tiny, copy)
        (copy / file).unlink()
        check_one_error(bench(build, "--bundle", copy), 1, f"{file}: No such file or directory")


def test_golden_vectors_that_cannot_be_used(build: Path, tiny: Path, tmp_path: Path) -> None:
    golden = open_bundle(tiny).golden
    compressed = io.BytesIO()
    np.savez_compressed(compressed, **golden)
    images, embeddings = golden["images"], golden["image_embeddings"]
    wrong = {
        "cannot be read": changed_golden(tiny)[:-100],
        "is compressed": compressed.getvalue(),
        "images.npy: dtype <i4, expected uint8": changed_golden(tiny, images=images.astype(np.int32)),
        "image_embeddings.npy: dtype <f8": changed_golden(tiny, image_embeddings=embeddings.astype(np.float64)),
        "image_embeddings is [4, 7]": changed_golden(tiny, image_embeddings=embeddings[:, :7]),
        "images is [4, 8, 16, 3], expected uint8 rows of [16, 8, 3]": changed_golden(
            tiny, images=np.ascontiguousarray(images.swapaxes(1, 2))
        ),
        "images.npy: is in Fortran order": changed_golden(tiny, images=np.asfortranarray(images)),
        "another number of inputs": changed_golden(tiny, images=images[:3]),
        "image_embeddings is of another dtype": changed_golden(tiny, image_embeddings=images),
    }
    for number, (reason, content) in enumerate(wrong.items()):
        bundle = changed_bundle(tiny, tmp_path / str(number), {GOLDEN: content}, [])
        check_one_error(bench(build, "--bundle", bundle), 1, f"bundle {bundle}: golden.npz", reason)


def test_an_encoder_that_does_not_give_the_golden_embeddings_is_not_timed(
    build: Path, tiny: Path, tmp_path: Path
) -> None:
    golden = open_bundle(tiny).golden
    off = golden["attribute_embeddings"].copy()
    off[2, 5] += 2e-4
    bundle = changed_bundle(tiny, tmp_path / "off", {GOLDEN: changed_golden(tiny, attribute_embeddings=off)}, [])
    done = bench(build, "--bundle", bundle, *QUICK, "--json", tmp_path / "r.json", "--dump-golden", tmp_path / "dump")
    check_one_error(done, 1, "attribute_encoder.onnx (fp32)", "largest difference 2.0e-04", "nothing was timed")
    assert not (tmp_path / "r.json").exists()
    found = np.load(tmp_path / "dump" / "attribute_encoder.onnx.npy", allow_pickle=False)
    np.testing.assert_allclose(found, golden["attribute_embeddings"], rtol=0, atol=1e-6)

    not_a_number = np.full((4, DIM), np.nan, dtype=np.float32)
    content = {GOLDEN: changed_golden(tiny, image_embeddings=not_a_number)}
    done = bench(build, "--bundle", changed_bundle(tiny, tmp_path / "nan", content, []))
    check_one_error(done, 1, "image_encoder.onnx (fp32)", "largest difference inf")


def test_a_graph_that_does_not_fit_is_named(build: Path, tiny: Path, tmp_path: Path) -> None:
    attribute_graph = open_bundle(tiny).read_bytes("attribute_encoder.onnx")
    bundle = changed_bundle(tiny, tmp_path / "swapped", {"image_encoder.onnx": attribute_graph}, [])
    done = bench(build, "--bundle", bundle)
    check_one_error(done, 1, "image_encoder.onnx: input is element type 1 [N, 8], expected 2 [N, 16, 8, 3]")
    bundle = changed_bundle(tiny, tmp_path / "noise", {"image_encoder.onnx": b"no graph"}, [])
    check_one_error(bench(build, "--bundle", bundle), 1, "image_encoder.onnx: ")


def test_wrong_usage_exits_with_2(build: Path, tiny: Path) -> None:
    check_one_error(bench(build, "--bundle", tiny, "--fast"), 2, "--fast", "--help")
    check_one_error(bench(build), 2, "--bundle is missing")
    check_one_error(bench(build, "--bundle", tiny, "--batch", "0"), 2, "--batch is '0'")


def test_what_cannot_be_done_is_said_before_anything_is_timed(build: Path, tiny: Path, tmp_path: Path) -> None:
    done = bench(build, "--bundle", tiny, "--json", tmp_path / "none" / "result.json")
    check_one_error(done, 1, "there is no folder", "none")


def test_an_engine_is_checked_before_it_is_loaded(build: Path, tiny: Path, tmp_path: Path) -> None:
    plan = tmp_path / "engine.plan"
    plan.write_bytes(b"code")
    record = {"sha256": hashlib.sha256(b"code").hexdigest(), "key": {"precision": "fp16"}}
    (tmp_path / "engine.json").write_text(json.dumps(record))
    done = bench(build, "--bundle", tiny, "--engine", plan)
    if "TENSORRT_INCLUDE:PATH=TENSORRT_INCLUDE-NOTFOUND" in (build / "CMakeCache.txt").read_text():
        check_one_error(done, 1, "engine.plan", "built without TensorRT", "-DSAL_WITH_TENSORRT=ON")
    else:
        check_one_error(done, 1, "engine.plan: the engine cannot be loaded")
    plan.write_bytes(b"Code")
    check_one_error(bench(build, "--bundle", tiny, "--engine", plan), 1, "engine.plan was altered", "engine.json says")


def test_help_needs_nothing(build: Path) -> None:
    done = bench(build, "--help", onnxruntime="")
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: sal_bench --bundle DIR" in done.stdout
