"""What packages say of themselves: licences, what they need, and a bill of materials (SBOM) of them in CycloneDX."""

from __future__ import annotations

import hashlib
import uuid
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LONGEST_LICENCE = 60
"""Characters. Some packages put the whole text of their licence where its name belongs."""


@dataclass(frozen=True)
class Package:
    """A package of a certain version.

    Attributes:
        name: as indexes write it: lower case, with hyphens.
        version: the version.
        licence: an SPDX expression or a name, as the package states it; empty if it states none.
        is_expression: whether the licence is an SPDX expression.
        requires: the lines of its requirements.
        sha256: of its wheel, if it was read from one.
    """

    name: str
    version: str
    licence: str
    is_expression: bool
    requires: tuple[str, ...]
    sha256: str | None = None

    @property
    def url(self) -> str:
        """Its package URL (purl)."""
        return f"pkg:pypi/{self.name}@{self.version.replace('+', '%2B')}"


def package_of(metadata: Message, sha256: str | None = None) -> Package:
    """A package by the core metadata of its wheel or its installation."""
    expression = metadata.get("License-Expression")
    return Package(
        name=canonicalize_name(str(metadata["Name"])),
        version=str(metadata["Version"]),
        licence=str(expression) if expression else _licence_in_words(metadata),
        is_expression=bool(expression),
        requires=tuple(map(str, metadata.get_all("Requires-Dist", []))),
        sha256=sha256,
    )


def read_wheel(path: Path) -> Package:
    """A package by its wheel."""
    with zipfile.ZipFile(path) as wheel:
        (name,) = (one for one in wheel.namelist() if one.count("/") == 1 and one.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(wheel.read(name).decode("utf-8"))
    return package_of(metadata, hashlib.sha256(path.read_bytes()).hexdigest())


def needed_by(
    package: Package, extras: Iterable[str], packages: Mapping[str, Package], machine: str
) -> dict[str, set[str]]:
    """What a package and everything below it need, by name; the package itself comes first.

    Args:
        package: where to begin.
        extras: its extras that are asked for.
        packages: all that there are, by name. What is needed and not here is left out.
        machine: the processor that markers are evaluated for, as `platform.machine()` gives it.
    """
    needs: dict[str, set[str]] = {}
    waiting = [(package, frozenset(extras))]
    seen = set(waiting)
    while waiting:
        one, asked = waiting.pop(0)
        below = needs.setdefault(one.name, set())
        for requirement in map(Requirement, one.requires):
            name = canonicalize_name(requirement.name)
            environments = [{"extra": extra, "platform_machine": machine} for extra in (*asked, "")]
            applies = not requirement.marker or any(map(requirement.marker.evaluate, environments))
            if not applies or name not in packages:
                continue
            if name != one.name:
                below.add(name)
            step = (packages[name], frozenset(requirement.extras))
            if step not in seen:
                seen.add(step)
                waiting.append(step)
    return needs


def bill_of_materials(
    package: Package, packages: Mapping[str, Package], needs: Mapping[str, set[str]]
) -> dict[str, Any]:
    """A CycloneDX 1.6 document about a package and others; the same packages give the same document.

    Args:
        package: what the document is about.
        packages: all packages by name, with it.
        needs: what each needs, by name.
    """
    others = [packages[name] for name in sorted(packages) if name != package.name]
    identity = "\n".join(f"{one.url} {one.sha256}" for one in (package, *others))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, identity)}",
        "version": 1,
        "metadata": {"component": _component(package, "application")},
        "components": [_component(one, "library") for one in others],
        "dependencies": [
            {"ref": one.url, "dependsOn": [packages[name].url for name in sorted(needs.get(one.name, ()))]}
            for one in (package, *others)
        ],
    }


def _component(package: Package, kind: str) -> dict[str, Any]:
    described: dict[str, Any] = {
        "type": kind,
        "bom-ref": package.url,
        "name": package.name,
        "version": package.version,
        "purl": package.url,
    }
    if package.sha256:
        described["hashes"] = [{"alg": "SHA-256", "content": package.sha256}]
    if package.is_expression:
        described["licenses"] = [{"expression": package.licence}]
    elif package.licence:
        described["licenses"] = [{"license": {"name": package.licence}}]
    return described


def _licence_in_words(metadata: Message) -> str:
    """The classifiers that name licences, or what stands in the older field."""
    classifiers = [line.split(" :: ") for line in metadata.get_all("Classifier", []) if line.startswith("License ::")]
    names = [parts[-1] for parts in classifiers if parts[-1] != "OSI Approved"]
    older = str(metadata.get("License", "")).strip()
    if names:
        return " and ".join(names)
    is_name = len(older) <= LONGEST_LICENCE and "\n" not in older and older != "UNKNOWN"
    return older if is_name else ""
