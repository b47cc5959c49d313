"""What docs/architecture.md promises about the code as a whole."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
MAY_IMPORT = {
    "sal_runtime": {"sal_runtime"},
    "sal_train": {"sal_train", "sal_runtime"},
    "sal_export": {"sal_export", "sal_train", "sal_runtime"},
}
RUNTIME_NEEDS = {"cv2", "numpy", "onnxruntime", "rich"}
OPTIONAL = {"cuda", "faiss", "grpc", "matplotlib", "pyarrow", "pymilvus", "ray", "tensorrt", "tensorrt_rtx", "usearch"}
NEVER = {"pickle", "cPickle", "dill", "marshal", "shelve"}
LONGEST_FILE = 320
LONGEST_FUNCTION = 60
SOURCES = sorted(
    path
    for room in (*MAY_IMPORT, "benchmarks", "scripts", ".")
    for path in (REPOSITORY / room).glob("*.py" if room == "." else "**/*.py")
)


def imports(path: Path) -> Iterator[str]:
    """Top-level names of all modules that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield str(node.module).split(".")[0]


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_arrows_point_towards_the_runtime(room: str) -> None:
    commands = {"cli", "cli_bench", "cli_bundle", "cli_data", "cli_doctor", "cli_gallery", "cli_options"}
    rooms = {"sal_service", "tests", "benchmarks", *commands, *MAY_IMPORT}
    for path in (REPOSITORY / room).rglob("*.py"):
        forbidden = set(imports(path)) & rooms - MAY_IMPORT[room]
        assert not forbidden, f"{path.relative_to(REPOSITORY)} imports {forbidden}"


def test_the_runtime_needs_little() -> None:
    for path in (REPOSITORY / "sal_runtime").rglob("*.py"):
        others = {name for name in imports(path) if name not in sys.stdlib_module_names} - {"sal_runtime"}
        assert others <= RUNTIME_NEEDS | OPTIONAL, f"{path.name} imports {others - RUNTIME_NEEDS - OPTIONAL}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_files_and_functions_stay_readable_and_nothing_is_unpickled(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    assert not set(imports(path)) & NEVER
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, f"{node.name} is too long"
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "np.load"):
            safe = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert safe.get("weights_only") == "True" or safe.get("allow_pickle") == "False", ast.unparse(node)


def test_importing_the_runtime_loads_nothing_heavy() -> None:
    code = "import sys, sal_runtime; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    heavy = {"torch", "onnx", "onnxruntime", "matplotlib", "scipy", "pandas", "rich", "typer", "tensorboard"}
    assert not loaded & heavy


def test_help_loads_neither_torch_nor_an_engine() -> None:
    code = (
        "import sys, cli\n"
        "try:\n    cli.main(['train', '--help'])\nexcept SystemExit:\n    pass\n"
        "print({'torch', 'onnx', 'onnxruntime'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stderr == "set()\n"
    assert "--resume" in done.stdout
