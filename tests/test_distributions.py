"""What is published: the same bytes from every clone; a whole checkout, and a wheel that no other code disturbs."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from scripts.release.distributions import ReleaseError, build, version_of
from tests.fresh_clone import git, make_clone

REPOSITORY = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of one commit, which is this checkout."""
    folder = tmp_path_factory.mktemp("clone")
    make_clone(folder)
    return folder


@pytest.fixture(scope="module")
def built(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `make dist` fills."""
    out = tmp_path_factory.mktemp("dist")
    build(clone, out)
    return out


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel installs."""
    site = tmp_path_factory.mktemp("site")
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def test_two_builds_have_one_hash(clone: Path, built: Path, tmp_path: Path) -> None:
    """In another folder, by somebody whose files are private, at another time."""
    before = os.umask(0o077)
    try:
        git(tmp_path, "clone", "--quiet", str(clone), "elsewhere")
        build(tmp_path / "elsewhere", tmp_path / "dist")
    finally:
        os.umask(before)
    assert (tmp_path / "dist" / "SHA256SUMS").read_text() == (built / "SHA256SUMS").read_text()
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(check, cwd=built, capture_output=True, text=True, check=True)
    assert done.stdout.count(": OK\n") == 2


def test_a_tag_is_the_version_and_needs_real_addresses(clone: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{clone}", "tagged")
    tagged = tmp_path / "tagged"
    assert re.fullmatch(r"0\.1\.dev1\+g[0-9a-f]+", version_of(tagged))
    git(tagged, "tag", "v9.8.7")
    assert version_of(tagged) == "9.8.7"
    with pytest.raises(ReleaseError, match=r"9\.8\.7 is tagged, but .* no real Documentation, Repository"):
        build(tagged, tmp_path / "dist")
    shutil.rmtree(tagged / ".git")
    assert version_of(tagged) == "0.0"


def test_a_changed_file_is_not_released(clone: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", str(clone), "changed")
    with (tmp_path / "changed" / "README.md").open("a") as readme:
        readme.write("more\n")
    with pytest.raises(ReleaseError, match=r"differ from the commit(.|\n)*README\.md"):
        build(tmp_path / "changed", tmp_path / "dist")


def test_the_source_distribution_is_the_checkout_and_its_tests_run(clone: Path, built: Path, tmp_path: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        names = {name.partition("/")[2] for name in files.getnames()}
        files.extractall(tmp_path, filter="data")
    assert set(git(clone, "ls-files").splitlines()) - names == set()
    assert {name for name in names if name.endswith((".sal", ".pyc"))} == set()
    (source,) = tmp_path.iterdir()
    # a few, as it is the checkout: some read the code, some the shipped bundle
    some = ["tests/runtime/query/test_language.py", "tests/docs/test_reference.py", "tests/scripts/release"]
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow"]
    done = subprocess.run([*run, *some], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert re.search(r"\d\d passed", done.stdout)


def test_the_description_reads_on_an_index_page(installed: Path) -> None:
    (metadata,) = installed.glob("*.dist-info/METADATA")
    described = Parser().parsestr(metadata.read_text(encoding="utf-8"))
    urls = dict(line.split(", ") for line in described.get_all("Project-URL", []))
    assert urls.keys() == {"Documentation", "Repository", "Issues", "Changelog"}
    assert described["Description-Content-Type"] == "text/markdown"
    text = described.get_payload()
    assert isinstance(text, str)
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    assert f"{urls['Documentation']}/docs/images/demo.jpg" in links
    assert f"{urls['Documentation']}/docs/index.html" in links
    assert len(links) == len(re.findall(r"\]\(([^)]+)\)", (REPOSITORY / "README.md").read_text(encoding="utf-8")))


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
