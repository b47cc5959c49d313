"""A wheelhouse is enough for a box without a network, and for one without pip."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.release import wheelhouse
from scripts.release.application import unpack
from scripts.release.distributions import REPOSITORY, ReleaseError
from tests.fresh_clone import make_clone

GALLERY = REPOSITORY / "demo" / "gallery"
CUT_OFF = ["unshare", "--net", "--map-root-user"]


def test_pip_is_told_what_a_box_of_another_kind_takes() -> None:
    assert wheelhouse._options_for(platform.machine(), wheelhouse.THIS_PYTHON) == []
    options = wheelhouse._options_for("aarch64", "3.12")
    assert options[:4] == ["--implementation", "cp", "--python-version", "3.12"]
    # the tags of numpy's, OpenCV's, ONNX Runtime's and protobuf's wheels
    for tag in ("manylinux_2_27", "manylinux_2_28", "manylinux_2_17", "manylinux2014"):
        assert f"--platform={tag}_aarch64" in options
    assert "--platform=manylinux_2_29_aarch64" not in options


def test_a_folder_with_files_is_not_filled(tmp_path: Path) -> None:
    (tmp_path / "old.whl").touch()
    with pytest.raises(ReleaseError, match="holds files; give an empty folder"):
        wheelhouse.collect(tmp_path, ["cpu"], "x86_64", "3.11")
    with pytest.raises(ReleaseError, match="holds no wheel of sal"):
        unpack(tmp_path, tmp_path / "sal")


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A wheelhouse of this checkout, changed files as they are."""
    folder, clone = tmp_path_factory.mktemp("house"), tmp_path_factory.mktemp("clone")
    make_clone(clone)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wheelhouse, "REPOSITORY", clone)
        wheelhouse.collect(folder, ["cpu"], platform.machine(), wheelhouse.THIS_PYTHON)
    yield folder
    shutil.rmtree(folder)  # hundreds of megabytes


@pytest.mark.slow
def test_a_box_without_a_network_installs_and_searches(collected: Path, tmp_path: Path) -> None:
    if subprocess.run([*CUT_OFF, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not cut a command off from the network")
    crops = shutil.copytree(GALLERY, tmp_path / "crops", ignore=lambda _folder, names: sorted(names)[10:])
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "SAL_BUNDLE")}
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        pip = [
            f"{folder}/bin/pip",
            "--disable-pip-version-check",
            "install",
            "--quiet",
            "--no-compile",
            "--no-cache-dir",
        ]
        pip += ["--requirement", str(collected / "requirements.txt")]
        subprocess.run([*CUT_OFF, *pip], cwd=tmp_path, env=environment, check=True)
        search = ["search", "--attrs", "female", "--gallery", str(crops), "--top", "3", "--json"]
        sal = [*CUT_OFF, f"{folder}/bin/sal", *search]
        done = subprocess.run(sal, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert '"rank": 3' in done.stdout
    with tempfile.TemporaryDirectory() as folder:
        unpack(collected, Path(folder) / "sal")
        sal = [sys.executable, "-S", "-I", f"{folder}/sal", *search]  # of this environment only the standard library
        again = subprocess.run(sal, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(again.stdout)["hits"] == json.loads(done.stdout)["hits"]


@pytest.mark.slow
def test_the_papers_of_a_wheelhouse_agree_with_its_wheels(collected: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=collected, check=True)
    wheels = {path.name.split("-")[0].lower().replace("_", "-") for path in collected.glob("*.whl")}
    assert {"sal-person-search", "numpy", "opencv-python", "onnxruntime", "typer", "rich"} <= wheels
    bill = json.loads((collected / "sbom.cdx.json").read_text())
    described = {one["name"]: one for one in (bill["metadata"]["component"], *bill["components"])}
    assert described.keys() == wheels
    assert all(one["licenses"] for one in described.values())
    assert {one["ref"] for one in bill["dependencies"]} == {one["purl"] for one in described.values()}
    needed = {ref for one in bill["dependencies"] for ref in one["dependsOn"]}
    assert needed == {one["purl"] for one in bill["components"]}, "a wheel that nothing needs"
    lines = (collected / "requirements.txt").read_text().splitlines()
    hashes = {line.partition("==")[0].partition("[")[0]: line.partition("sha256:")[2] for line in lines if "==" in line}
    assert hashes == {name: one["hashes"][0]["content"] for name, one in described.items()}
    assert len((collected / "licences.txt").read_text().splitlines()) == len(wheels)
