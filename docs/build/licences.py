"""The licences of everything that the package brings along, as the packages state them."""

from __future__ import annotations

import importlib.metadata
import tomllib
from email.message import Message
from typing import cast

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.release.bill import Package, needed_by, package_of
from scripts.release.distributions import REPOSITORY

NOT_HERE = {"dev", "gpu", "trt"}
"""Extras that no user needs, or that are not installed where the documents are rendered."""


def licences() -> str:
    """A table: each package that an installation may bring, its licence, and the extras that bring it.

    Raises:
        LookupError: a package that an extra asks for is not installed here, so nothing is known of it.
    """
    described = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: lines for name, lines in described["optional-dependencies"].items() if name not in NOT_HERE}
    lines = [*described["dependencies"]]
    lines += [f"{line}; extra == '{extra}'" for extra, wanted in extras.items() for line in wanted]
    ours = Package(described["name"], "0", described["license"], True, tuple(lines))
    there = [package_of(cast(Message, found.metadata)) for found in importlib.metadata.distributions()]
    packages = {package.name: package for package in there} | {ours.name: ours}
    for line in lines:
        if canonicalize_name(Requirement(line).name) not in packages:
            raise LookupError(f"{line} is not installed; `make test` sets up what the documents are rendered with")
    always = needed_by(ours, [], packages, "x86_64").keys()
    brought: dict[str, list[str]] = {name: ["every installation"] for name in always}
    for extra in extras:
        for name in needed_by(ours, [extra], packages, "x86_64").keys() - always:
            brought.setdefault(name, []).append(f"`{extra}`")
    rows = [
        f"| {name} | {packages[name].licence or 'states none'} | {', '.join(by)} |"
        for name, by in sorted(brought.items())
        if name != ours.name
    ]
    return "\n".join(["| package | licence | comes with |", "|---|---|---|", *rows])
