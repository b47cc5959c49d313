"""The lowest version that pyproject.toml accepts of every package, as constraints for pip.

python scripts/lowest_versions.py > lowest.txt && pip install --constraint lowest.txt '.[cpu]'
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
OURS = "sal-person-search"


def lowest_versions(project: Path = PROJECT) -> list[str]:
    """A line `NAME==VERSION` for each package that a project depends on, in any of its extras.

    Raises:
        ValueError: a dependency states no lowest version, or two state different ones.
    """
    described = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    extras = described.get("optional-dependencies", {})
    lowest: dict[str, str] = {}
    for requirement in [*described["dependencies"], *(one for extra in extras.values() for one in extra)]:
        found = re.fullmatch(r"([\w.-]+)(?:\[[\w,-]+\])?(?:(?:>=|==)([\d.]+))?(?:\s*;.*)?", requirement)
        name, version = found.groups() if found else (requirement, None)
        if name == OURS:
            continue
        if version is None or lowest.setdefault(name, version) != version:
            raise ValueError(f"{requirement}: expected one lowest version of {name}, as in {name}>=1.0")
    return [f"{name}=={version}" for name, version in sorted(lowest.items())]


if __name__ == "__main__":
    print("\n".join(lowest_versions()))
