"""The wheel: nothing but our packages at the top level, and a command that no other `cli.py` disturbs."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel installs, built from a copy of the files that git knows."""
    source, wheels, site = (tmp_path_factory.mktemp(name) for name in ("source", "wheels", "site"))
    command = [
        "git",
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "sal_*",
        "bundles",
        "*.toml",
        "README.md",
    ]
    listed = subprocess.run([*command, "LICENSE", "NOTICE", "cli.py"], cwd=REPOSITORY, capture_output=True, check=True)
    for name in listed.stdout.decode().splitlines():
        if (REPOSITORY / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel", "--no-deps"]
    subprocess.run([*pip, "--wheel-dir", wheels, source], check=True)
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def test_only_our_packages_are_at_the_top_level(installed: Path) -> None:
    names = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert names == {"sal_cli", "sal_export", "sal_runtime", "sal_service", "sal_train"}
    in_checkout = {path.relative_to(REPOSITORY) for package in names for path in (REPOSITORY / package).rglob("*.py")}
    assert {path.relative_to(installed) for path in installed.rglob("*.py")} == in_checkout


def test_a_cli_module_of_the_project_around_it_does_not_disturb_the_command(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "cli.py").write_text("raise SystemExit('the wrong cli')\n", encoding="utf-8")
    crops = shutil.copytree(REPOSITORY / "demo" / "gallery", tmp_path / "crops", ignore=_all_but_ten)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{installed}"}
    environment.pop("SAL_BUNDLE", None)
    start = "import sys; from sal_cli.app import main; sys.argv[0] = 'sal'; main()"
    command = [
        sys.executable,
        "-c",
        start,
        "search",
        "--attrs",
        "female",
        "--gallery",
        str(crops),
        "--top",
        "3",
        "--json",
    ]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert '"rank": 3' in done.stdout
    where = "import sal_runtime, sal_cli; print(sal_runtime.__file__, sal_cli.__file__)"
    found = subprocess.run([sys.executable, "-c", where], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert found.stdout.count(str(installed)) == 2


def test_a_strict_type_checker_accepts_a_program_with_the_installed_package(installed: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    (packages,) = environment.glob("lib/python*/site-packages")
    shutil.copytree(installed, packages, dirs_exist_ok=True)
    for library in ("numpy", "cv2"):  # what the program sees besides
        (packages / library).symlink_to(Path(str(importlib.import_module(library).__file__)).parent)
    program = tmp_path / "program.py"
    program.write_text(
        (REPOSITORY / "docs" / "examples" / "embed.py").read_text(encoding="utf-8")
        + "\n\nimport sal_runtime\n\nsal_runtime.serch\nreveal_type(sal_runtime.open_bundle)\n",
        encoding="utf-8",
    )
    mypy = [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}/cache"]
    mypy += [f"--python-executable={environment}/bin/python", "program.py"]
    done = subprocess.run(mypy, cwd=tmp_path, capture_output=True, text=True, check=False)
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert len(errors) == 1, done.stdout
    assert 'Module has no attribute "serch"' in errors[0]
    assert "-> sal_runtime.bundle.bundle.Bundle" in done.stdout


def _all_but_ten(_folder: str, names: list[str]) -> list[str]:
    return sorted(names)[10:]
