"""What docs/architecture.md promises about the code as a whole: rooms, floors, public names, light imports."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGES = {
    "sal_runtime": {"sal_runtime"},
    "sal_service": {"sal_service", "sal_runtime"},
    "sal_train": {"sal_train", "sal_runtime"},
    "sal_export": {"sal_export", "sal_train", "sal_runtime"},
    "sal_cli": {"sal_cli", "sal_service", "sal_export", "sal_train", "sal_runtime"},
}
"""Which of our packages each may import."""
FLOORS = (
    {"errors", "version", "lazy", "arrays", "files"},
    {"query", "images", "engines"},
    {"bundle", "ranking"},
    {"encoding"},
    {"gallery"},
    {"matching", "archive", "doctor"},
)
"""Of `sal_runtime`, from the ground up: a room may import the rooms of lower floors only."""
INNER_ROOMS = {
    ("engines", "tensorrt"): {"devices"},
    ("gallery", "store"): {"items"},
    ("gallery", "milvus"): {"items", "moments"},
}
"""Rooms inside rooms, and the files of the outer room that they may import."""
RUNTIME_NEEDS = {"cv2", "numpy", "onnxruntime"}
OPTIONAL = {"cuda", "grpc", "pyarrow", "pymilvus", "ray", "tensorrt", "tensorrt_rtx", "usearch"}
OURS = {"benchmarks", "cli", "docs", "scripts", "tests", *PACKAGES}
NEVER = {"pickle", "cPickle", "dill", "marshal", "shelve"}
LONGEST_FILE = 450
LONGEST_FUNCTION = 60
LARGEST_ROOM = 18
LONGEST_RUNTIME = 14_300
LONGEST_SEARCH = 6_020
SOURCES = sorted(
    path
    for folder in (*PACKAGES, "benchmarks", "scripts", "docs", "cli.py")
    for path in ((REPOSITORY / folder).rglob("*.py") if "." not in folder else [REPOSITORY / folder])
)


def modules_imported_by(path: Path) -> Iterator[str]:
    """Dotted names of all modules that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files_of(package: str) -> list[Path]:
    return sorted((REPOSITORY / package).rglob("*.py"))


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_they_may(package: str) -> None:
    for path in files_of(package):
        ours = {name.split(".")[0] for name in modules_imported_by(path)} & OURS
        assert ours <= PACKAGES[package], f"{path.relative_to(REPOSITORY)} imports {ours - PACKAGES[package]}"


def test_rooms_import_lower_floors_only() -> None:
    floor_of = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    for path in files_of("sal_runtime"):
        if path == REPOSITORY / "sal_runtime" / "__init__.py":
            continue  # the table of contents names them all
        room = path.relative_to(REPOSITORY / "sal_runtime").with_suffix("").parts[0]
        assert room in floor_of, f"{path.relative_to(REPOSITORY)} is in no room: FLOORS does not name it"
        for module in modules_imported_by(path):
            other = (*module.split("."), "")[1] if module.startswith("sal_runtime.") else room
            is_lower = floor_of.get(other, len(FLOORS)) < floor_of[room] or {room, other} <= FLOORS[0]
            assert other == room or is_lower, f"{path.relative_to(REPOSITORY)} imports {module}"


def test_inner_rooms_do_not_lean_on_the_room_around_them() -> None:
    for (outer, inner), allowed in INNER_ROOMS.items():
        for path in files_of(f"sal_runtime/{outer}/{inner}"):
            for module in modules_imported_by(path):
                parts = module.split(".")
                if parts[:2] == ["sal_runtime", outer] and path.name != "__init__.py":
                    assert parts[2] in {inner, *allowed}, f"{path.relative_to(REPOSITORY)} imports {module}"


def test_files_of_a_room_import_each_other_in_no_circle() -> None:
    arrows: dict[str, set[str]] = {}
    for package in PACKAGES:
        for path in files_of(package):
            name = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
            if path.name == "__init__.py":
                continue
            named = set(modules_imported_by(path))
            arrows[name] = named | {module.rpartition(".")[0] for module in named}
    waiting = {name: found & arrows.keys() - {name} for name, found in arrows.items()}
    while ready := [name for name, found in waiting.items() if not found & waiting.keys()]:
        for name in ready:
            del waiting[name]
    assert not waiting, f"these import each other in a circle: {sorted(waiting)}"


def test_rooms_are_small() -> None:
    for package in PACKAGES:
        for folder in {path.parent for path in files_of(package)}:
            files = list(folder.glob("*.py"))
            assert len(files) <= LARGEST_ROOM, f"{folder.relative_to(REPOSITORY)} has {len(files)} files"
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files_of("sal_runtime"))
    assert lines <= LONGEST_RUNTIME


def test_one_function_imports_onnx_runtime() -> None:
    """It switches telemetry off first; whoever imports it otherwise lets it report to its maker."""
    importing = [
        path for path in SOURCES if "onnxruntime" in {name.split(".")[0] for name in modules_imported_by(path)}
    ]
    assert importing == []


def test_the_runtime_needs_little() -> None:
    for path in files_of("sal_runtime"):
        names = {module.split(".")[0] for module in modules_imported_by(path)}
        others = names - sys.stdlib_module_names - {"sal_runtime"}
        assert others <= RUNTIME_NEEDS | OPTIONAL, f"{path.name} imports {others - RUNTIME_NEEDS - OPTIONAL}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_files_and_functions_stay_readable_and_nothing_is_unpickled(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    assert not {module.split(".")[0] for module in modules_imported_by(path)} & NEVER
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, f"{node.name} is too long"
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "np.load"):
            safe = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert safe.get("weights_only") == "True" or safe.get("allow_pickle") == "False", ast.unparse(node)


def public_packages() -> list[str]:
    """The packages with a table of public names."""
    inits = [path for top in ("sal_runtime", "sal_service") for path in files_of(top) if path.name == "__init__.py"]
    folders = [path.parent for path in inits]
    names = [".".join(folder.relative_to(REPOSITORY).parts) for folder in folders]
    return [name for name in names if "lazy_names" in (REPOSITORY / name.replace(".", "/") / "__init__.py").read_text()]


def test_public_names_are_what_they_say_after_all_modules_are_imported() -> None:
    code = (
        "import pkgutil, sys\n"
        "from importlib import import_module\n"
        "import sal_runtime, sal_service\n"
        "for top in (sal_runtime, sal_service):\n"
        "    for module in pkgutil.walk_packages(top.__path__, top.__name__ + '.'):\n"
        "        import_module(module.name)\n"
        f"for package in {public_packages()!r}:\n"
        "    for name in sys.modules[package].__all__:\n"
        "        found = getattr(sys.modules[package], name)\n"
        "        print(package, name, type(found).__name__, getattr(found, '__module__', ''), sep='\\t')\n"
    )
    rows = [line.split("\t") for line in run_python(code).splitlines()]
    assert {package for package, *_ in rows} == set(public_packages())
    for package, name, kind, home in rows:
        assert kind != "module", f"from {package} import {name} gives a module"
        assert (kind not in ("type", "function")) or home.startswith(package), f"{package}.{name} is of {home}"


@pytest.mark.parametrize("package", public_packages())
def test_public_names_are_the_same_for_people_and_for_type_checkers(package: str) -> None:
    """mypy reads the imports, Python the table beside them; and `dir` shows nothing else."""
    text = (REPOSITORY / package.replace(".", "/") / "__init__.py").read_text(encoding="utf-8")
    (branch,) = [node for node in ast.parse(text).body if isinstance(node, ast.If)]
    for_mypy = {alias.asname for node in branch.body for alias in getattr(node, "names", ())}
    homes = {
        f"{node.module}.{alias.name}"
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    code = f"import {package} as p; print(*p.__all__); print(*dir(p)); print(*(p.__name__ for p in [p]))"
    all_names, shown, _ = run_python(code).splitlines()
    assert set(all_names.split()) == for_mypy == set(shown.split())
    table = ast.literal_eval(branch.orelse[0].value.args[1])  # type: ignore[attr-defined]
    assert homes == {f"{package}.{module}.{name}" for module, names in table.items() for name in names}


def test_the_documents_list_the_public_names() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(sal_(?:runtime|service)[.\w]*)` \| (.+) \|$", text, re.MULTILINE)
    listed = {package: set(re.findall(r"`(\w+)`", names)) for package, names in rows}
    code = f"from importlib import import_module\nfor p in {public_packages()!r}: print(p, *import_module(p).__all__)"
    lines = [line.split() for line in run_python(code).splitlines()]
    assert listed == {package: set(names) for package, *names in lines}


def test_a_misspelt_public_name_is_an_error_for_mypy_and_for_python(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import sal_runtime\nsal_runtime.serch\n", encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}", str(program)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert 'has no attribute "serch"' in done.stdout
    with pytest.raises(subprocess.CalledProcessError):
        run_python("import sal_runtime; sal_runtime.serch")


def test_importing_the_runtime_loads_nothing_heavy() -> None:
    loaded = set(run_python("import sys, sal_runtime; print(*{name.split('.')[0] for name in sys.modules})").split())
    heavy = {"torch", "onnx", "onnxruntime", "cv2", "matplotlib", "scipy", "pandas", "rich", "typer", "tensorboard"}
    assert not loaded & heavy


def test_a_search_loads_little_of_ours() -> None:
    """Of a process that opens a gallery file and asks it: a service that embeds the runtime."""
    code = (
        "import sys\n"
        "from sal_runtime import Gallery, PersonSearch, open_bundle\n"
        "from sal_runtime.engines import onnx\n"
        "print(*(module.__file__ for name, module in sys.modules.items() if name.startswith('sal_')), sep='\\n')"
    )
    files = run_python(code).split()
    assert len(files) > 20
    assert sum(len(Path(file).read_text(encoding="utf-8").splitlines()) for file in files) <= LONGEST_SEARCH


def test_help_loads_neither_torch_nor_an_engine() -> None:
    code = (
        "import sys\n"
        "from sal_cli.app import main\n"
        "try:\n    main(['train', '--help'])\nexcept SystemExit:\n    pass\n"
        "print({'torch', 'onnx', 'onnxruntime', 'sal_cli.commands.search'} & set(sys.modules))"
    )
    help_text, _, loaded = run_python(code).rstrip().rpartition("\n")
    assert loaded == "set()"
    assert "--resume" in help_text
