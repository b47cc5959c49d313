"""Bills of materials and licences, against CycloneDX's own schema and what was written by hand."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from scripts.release.bill import Package, bill_of_materials, needed_by, read_wheel


def wheel(folder: Path, name: str, *lines: str) -> Path:
    path = folder / f"{name}-1.0+x-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other/vendored.dist-info/METADATA", "Name: wrong\n")
        text = "\n".join(["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0+x", *lines, "", "License: prose"])
        archive.writestr(f"{name}-1.0+x.dist-info/METADATA", text)
    return path


@pytest.mark.parametrize(
    ("lines", "licence"),
    [
        (["License-Expression: MIT OR Apache-2.0", "License: ignored"], "MIT OR Apache-2.0"),
        (["Classifier: License :: OSI Approved :: MIT License", "License: whole text"], "MIT License"),
        (["Classifier: License :: OSI Approved", "License: BSD"], "BSD"),
        (["License: 3-Clause BSD License"], "3-Clause BSD License"),
        (["License: UNKNOWN"], ""),
        ([f"License: Permission is hereby granted {'and so on ' * 20}"], ""),
        ([], ""),
    ],
)
def test_the_licence_that_a_wheel_states(tmp_path: Path, lines: list[str], licence: str) -> None:
    path = wheel(tmp_path, "Some_Thing", *lines)
    package = read_wheel(path)
    assert (package.name, package.version, package.licence) == ("some-thing", "1.0+x", licence)
    assert package.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert package.is_expression == lines[:1][0].startswith("License-Expression") if lines else not package.licence


def packages(**requires: list[str]) -> dict[str, Package]:
    return {name: Package(name, "1", "MIT", True, tuple(lines), "0" * 64) for name, lines in requires.items()}


def test_what_is_needed_depends_on_extras_and_on_the_processor() -> None:
    house = packages(
        top=["a[x]>=1", "B_1; extra == 'serve'", "other; extra == 'cpu'", "top[cpu]; extra == 'all'"],
        a=["c; extra == 'x'", "d; extra == 'y'", "arm; platform_machine == 'aarch64'", "missing"],
        **{"b-1": [], "c": ["top"], "d": [], "arm": [], "other": []},
    )
    top = house["top"]
    assert needed_by(top, [], house, "x86_64") == {"top": {"a"}, "a": {"c"}, "c": {"top"}}
    assert needed_by(top, ["serve"], house, "aarch64")["top"] == {"a", "b-1"}
    assert needed_by(top, [], house, "aarch64")["a"] == {"c", "arm"}
    assert needed_by(top, ["all"], house, "x86_64")["top"] == {"a", "other"}


def test_a_bill_follows_the_schema_and_is_the_same_again() -> None:
    schema = pytest.importorskip("cyclonedx.schema", reason="CycloneDX's own check")
    validation = pytest.importorskip("cyclonedx.validation.json")
    house = packages(top=["a", "b"], a=["b"], b=[])
    house["b"] = Package("b", "2+x", "A licence of its own", False, (), None)
    house["c"] = Package("c", "3", "", False, ())
    bill = bill_of_materials(house["top"], house, needed_by(house["top"], [], house, "x86_64"))
    check = validation.JsonStrictValidator(schema.SchemaVersion.V1_6)
    assert check.validate_str(json.dumps(bill)) is None
    assert check.validate_str(json.dumps({**bill, "components": [{"name": 1}]})) is not None
    assert bill == bill_of_materials(house["top"], dict(reversed(house.items())), {"top": {"b", "a"}, "a": {"b"}})
    assert [one["purl"] for one in bill["components"]] == ["pkg:pypi/a@1", "pkg:pypi/b@2%2Bx", "pkg:pypi/c@3"]
    assert bill["dependencies"][0] == {"ref": "pkg:pypi/top@1", "dependsOn": ["pkg:pypi/a@1", "pkg:pypi/b@2%2Bx"]}
