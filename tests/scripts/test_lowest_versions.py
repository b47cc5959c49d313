"""The constraints of the job that installs the lowest versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.lowest_versions import lowest_versions


def project(tmp_path: Path, *requirements: str) -> Path:
    path = tmp_path / "pyproject.toml"
    path.write_text(
        f"[project]\ndependencies = {list(requirements)!r}\n[project.optional-dependencies]\nx = ['b==2']\n"
    )
    return path


def test_every_dependency_of_this_project_states_one_lowest_version() -> None:
    lines = lowest_versions()
    assert "opencv-python==4.11.0.86" in lines
    assert all(line.count("==") == 1 for line in lines)


def test_bounds_become_exact_versions(tmp_path: Path) -> None:
    assert lowest_versions(project(tmp_path, "a[c,d]>=1.0", "sal-person-search[x]")) == ["a==1.0", "b==2"]
    assert lowest_versions(project(tmp_path, "a>=1.0; python_version < '3.13'")) == ["a==1.0", "b==2"]


@pytest.mark.parametrize("requirement", ["a", "a<3", "b>=1", "a; python_version < '3'"])
def test_a_dependency_without_one_lowest_version_is_refused(tmp_path: Path, requirement: str) -> None:
    with pytest.raises(ValueError, match="expected one lowest version of"):
        lowest_versions(project(tmp_path, requirement))
