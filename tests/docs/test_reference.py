"""The API reference has every public name, with the signatures and errors that Python itself knows."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from docs.build import reference
from docs.build.pages import REPOSITORY
from docs.build.reference import FOLDER, reference_pages
from tests.test_architecture import public_packages

PAGES = reference_pages()
SECTIONS = {
    heading: body
    for page in PAGES.values()
    for heading, body in re.findall(r"^##+ `([\w.]+)`\n(.*?)(?=^##+ |^<!-- |\Z)", page, flags=re.DOTALL | re.MULTILINE)
}


def public_objects() -> dict[str, Any]:
    return {
        name: getattr(importlib.import_module(package), name)
        for package in public_packages()
        for name in importlib.import_module(package).__all__
    }


def callables() -> dict[str, Any]:
    """Public functions and the public methods that public classes define themselves."""
    found = {}
    for name, value in public_objects().items():
        if inspect.isfunction(value):
            found[name] = value
        elif inspect.isclass(value):
            methods = {key: getattr(value, key) for key in vars(value) if not key.startswith("_")}
            found |= {
                f"{name}.{key}": method
                for key, method in methods.items()
                if inspect.isfunction(method) or inspect.ismethod(method)
            }
    return found


def test_the_committed_pages_are_those_of_the_docstrings() -> None:
    committed = {f"{FOLDER}/{path.name}" for path in (REPOSITORY / FOLDER).glob("*.md")}
    assert committed == PAGES.keys()
    for name, text in PAGES.items():
        assert (REPOSITORY / name).read_text(encoding="utf-8") == text, "python -m docs.build"


def test_every_public_name_has_a_section_and_a_line_in_the_index() -> None:
    index = PAGES[f"{FOLDER}/README.md"]
    for name in public_objects():
        assert name in SECTIONS
        assert f"[`{name}`](" in index


def test_types_that_are_not_public_are_described_where_public_names_use_them() -> None:
    assert {"Recorded", "Artefact", "DeviceCheck", "EncoderCheck", "ApproximateIndex"} <= SECTIONS.keys()
    assert "Not public" in SECTIONS["Recorded"]
    assert "`Recorded`" not in PAGES[f"{FOLDER}/README.md"]
    assert "## `Recorded`" in PAGES[f"{FOLDER}/gallery.md"]
    assert "WriterLock" not in SECTIONS


def test_the_import_lines_work() -> None:
    lines = re.findall(r"`(from sal_(?:runtime|service)\S* import \w+)`", "".join(PAGES.values()))
    assert len(lines) == len(public_objects())
    for line in lines:
        exec(line, {})


@pytest.mark.parametrize("name", callables())
def test_signatures_are_those_that_python_sees(name: str) -> None:
    block = re.search(r"^```python\n(.*?)^```", SECTIONS[name], flags=re.DOTALL | re.MULTILINE)
    assert block is not None
    call, _, returned = block[1].rstrip().partition(name)[2].rpartition(") -> ")
    scope: dict[str, Any] = {}
    text = f"from __future__ import annotations\ndef f{call.replace('= ', '= _ or ')}): ..."
    exec(text, {"_": True}, scope)  # a default may be a private name: here all are True
    shown = inspect.signature(scope["f"])
    real = inspect.signature(callables()[name])
    expected = [parameter for parameter in real.parameters.values() if parameter.name != "self"]
    assert [(p.name, p.kind, p.annotation) for p in shown.parameters.values()] == [
        (p.name, p.kind, p.annotation) for p in expected
    ]
    empty = inspect.Parameter.empty
    assert [p.default is empty for p in shown.parameters.values()] == [p.default is empty for p in expected]
    assert returned == str(real.return_annotation)


@pytest.mark.parametrize("name", callables())
def test_every_error_of_a_docstring_is_shown(name: str) -> None:
    documented = (inspect.getdoc(callables()[name]) or "").partition("Raises:")[2]
    for error in re.findall(r"^    (\w+):", documented, flags=re.MULTILINE):
        assert f"`{error}`" in SECTIONS[name].partition("**Raises**")[2]


def test_a_docstring_as_markdown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = tmp_path / "sal_runtime" / "room"
    room.mkdir(parents=True)
    (tmp_path / "sal_runtime" / "arrays.py").write_text('"""Types."""\n')
    (tmp_path / "sal_runtime" / "__init__.py").write_text('"""All.\n\nroom/   a room\n"""\n')
    (tmp_path / "sal_service").mkdir()
    (tmp_path / "sal_service" / "__init__.py").write_text('"""Nothing."""')
    (room / "__init__.py").write_text(
        '"""A room."""\nif TYPE_CHECKING:\n    from sal_runtime.room.one import Thing as Thing, make as make\n'
    )
    (room / "one.py").write_text(
        '''
class Thing:
    """What `make` makes."""

    def turn(self, angle: float = 0.5) -> Thing:
        """Turn it."""

def make(path: Path | str, *, size: int | None = None) -> Thing:
    """Make a `Thing`. See docs/data.md.

        make("a")

    Args:
        path: where; `a|b`
            or elsewhere.
        size: in pixels.

    Returns:
        The thing
        itself.

    Raises:
        OSError: it cannot
            be made.
    """
'''
    )
    monkeypatch.setattr(reference, "REPOSITORY", tmp_path)
    pages = reference_pages()
    assert pages.keys() == {"docs/api/README.md", "docs/api/room.md"}
    _, _, section = pages["docs/api/room.md"].partition("## `make`\n\n")
    paragraphs = section.partition("## `Thing`")[0].split("\n\n")
    assert paragraphs == [
        "`from sal_runtime.room import make`. Defined in [sal_runtime/room/one.py](../../sal_runtime/room/one.py).",
        "```python\nmake(path: Path | str, *, size: int | None = None) -> Thing\n```",
        "Types: [`Thing`](room.md#thing).",
        "Make a [`Thing`](room.md#thing). See [data](../data.md).",
        '    make("a")',
        "**Arguments**",
        "* `path`: where; `a|b` or elsewhere.\n* `size`: in pixels.",
        "**Returns** The thing itself.",
        "**Raises**",
        "* `OSError`: it cannot be made.",
        "",
    ]
    assert "### `Thing.turn`\n\n```python\nThing.turn(angle: float = 0.5) -> Thing\n```" in pages["docs/api/room.md"]
