"""The API reference: a page for each room of the runtime and of the service, read from the source, not imported."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FOLDER = "docs/api"
RUNTIME = "sal_runtime"
SERVICE = "sal_service"
SECTIONS = {"Args": "Arguments", "Attributes": "Attributes", "Raises": "Raises", "Returns": "Returns"}
"""The sections of a docstring and their titles on a page."""
SPECIAL = {"__len__": "len(x)", "__iter__": "for each in x", "__bool__": "bool(x)"}
"""How the special methods that a page shows are used."""
WIDTH = 120
"""Longest line of a page, in characters, apart from tables and long links."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Described:
    """A name that the reference describes.

    Attributes:
        name: the name.
        home: the module that defines it.
        room: the package of its page, or the module, for modules at the top of the runtime.
        packages: the packages that it can be imported from, the shortest first; none for a type that is not public, but
            that public names take or return.
        node: its definition: a class, a function, or the assignment of a type.
        doc: its docstring.
    """

    name: str
    home: str
    room: str
    packages: tuple[str, ...]
    node: ast.stmt
    doc: str

    @property
    def page(self) -> str:
        """The file name of its page."""
        return f"{self.room.rpartition('.')[2]}.md"

    @property
    def summary(self) -> str:
        """The first sentence of its docstring."""
        return re.split(r"(?<=[.!?])\s", self.doc.partition("\n\n")[0].replace("\n", " "), maxsplit=1)[0]

    @cached_property
    def members(self) -> list[Function]:
        """The public methods and properties of a class, in the order of the source."""
        body = self.node.body if isinstance(self.node, ast.ClassDef) else ()
        return [node for node in body if isinstance(node, Function) and not node.name.startswith("_")]


def reference_pages() -> dict[str, str]:
    """The text of every page of the reference, by its path from the top of the repository."""
    names = described_names()
    targets = {name.name: f"{name.page}#{anchor(name.name)}" for name in names}
    for name in names:
        for member in name.members:
            targets[f"{name.name}.{member.name}"] = f"{name.page}#{anchor(name.name + member.name)}"
    rooms: dict[str, list[Described]] = {}
    for name in names:
        rooms.setdefault(name.room, []).append(name)
    note = "\n<!-- Written by `python -m docs.build` from the docstrings; edit those. -->\n"
    pages = {f"{FOLDER}/README.md": _index(rooms) + note}
    for room, members in rooms.items():
        pages[f"{FOLDER}/{members[0].page}"] = _room(room, members, targets) + note
    return pages


def described_names() -> list[Described]:
    """All public names, room by room from the ground up, and after them other types that they use."""
    homes: dict[tuple[str, str], list[str]] = {}
    order: list[str] = []
    for top in (RUNTIME, SERVICE):
        for path in sorted((REPOSITORY / top).rglob("__init__.py")):
            package = ".".join(path.relative_to(REPOSITORY).parent.parts)
            for home, name in _imported(parse(path)):
                homes.setdefault((home, name), []).append(package)
        overview = ast.get_docstring(parse(REPOSITORY / top / "__init__.py")) or ""
        order += re.findall(r"\b(\w+)(?:/|\.py)(?=[, ])", overview)
    names = []
    for (home, name), packages in homes.items():
        package = home.rpartition(".")[0]
        room = home if package == RUNTIME else package
        if home.startswith(SERVICE):
            room = packages[0]  # its rooms have no table of names of their own
        names.append(Described(name, home, room, tuple(sorted(packages, key=len)), *_definition(home, name)))
    for used_by in names:  # grows while it is read: a type may use further types
        for home, name in _types_of(used_by):
            if name not in {known.name for known in names} and home != f"{RUNTIME}.arrays":
                names.append(Described(name, home, used_by.room, (), *_definition(home, name)))
    return sorted(
        names,
        key=lambda name: (order.index(name.room.split(".")[1]), name.room, not name.packages, name.name.lower()),
    )


def _types_of(name: Described) -> Iterator[tuple[str, str]]:
    """(module, name) of each type of ours that the signatures and attributes of a name mention."""
    homes: dict[str, str] = {}
    for node in ast.walk(parse(source_of(name.home))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith((RUNTIME, SERVICE)):
            homes |= {alias.name: str(node.module) for alias in node.names}
        elif isinstance(node, ast.ClassDef):
            homes[node.name] = name.home
    body = name.node.body if isinstance(name.node, ast.ClassDef) else [name.node]
    annotations: list[ast.expr | None] = [node.annotation for node in body if isinstance(node, ast.AnnAssign)]
    for node in body:
        if isinstance(node, Function) and (not node.name.startswith("_") or _is_constructor(node)):
            annotations += [node.returns, *(each.annotation for each in (*node.args.args, *node.args.kwonlyargs))]
    for annotation in filter(None, annotations):
        yield from ((homes[word], word) for word in re.findall(r"\w+", ast.unparse(annotation)) if word in homes)


def written(node: ast.AST) -> str:
    """An expression as our formatter writes it."""
    return ast.unparse(node).replace("'", '"')


def source_of(module: str) -> Path:
    """The file of a module."""
    return REPOSITORY / (module.replace(".", "/") + ".py")


def _is_constructor(node: ast.AST) -> bool:
    """Whether callers are meant to use a method to make an object; else its docstring names what they use."""
    return isinstance(node, Function) and node.name == "__init__" and not _docstring(node)


def _imported(package: ast.Module) -> Iterator[tuple[str, str]]:
    """(module, name) of each public name of a package: those it imports for type checkers only."""
    for branch in package.body:
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING":
            for node in branch.body:
                if isinstance(node, ast.ImportFrom):
                    yield from ((str(node.module), alias.name) for alias in node.names)


def _definition(home: str, name: str) -> tuple[ast.stmt, str]:
    """The definition of a name in a module, and its docstring."""
    body = parse(source_of(home)).body
    for node, after in zip(body, [*body[1:], ast.Pass()], strict=True):
        if isinstance(node, ast.ClassDef | Function) and node.name == name:
            return node, _docstring(node)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return node, _text_below(after)
    raise LookupError(f"{home} does not define {name}")


def parse(path: Path) -> ast.Module:
    """The syntax tree of a source file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def _docstring(node: ast.ClassDef | Function) -> str:
    return inspect.cleandoc(ast.get_docstring(node, clean=False) or "")


def _text_below(node: ast.stmt) -> str:
    """The string below an assignment, which documents it."""
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return inspect.cleandoc(str(node.value.value)) if is_text else ""  # type: ignore[attr-defined]


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _index(rooms: Mapping[str, list[Described]]) -> str:
    parts = [
        "# API reference",
        _wrapped(
            "These are the names that programs may import. They are stable; everything else may move. "
            "`sal_train` and `sal_export` have no public names: use them through `sal train` and `sal export`. "
            "[Embed it](../embed.md) is a guided tour."
        ),
        _wrapped(
            "Import a name from `sal_runtime`, or from its room where the table says so. Pass arguments after `*` by "
            "name. Every error that sal raises on purpose is a [`SalError`](errors.md#salerror)."
        ),
    ]
    for room, names in rooms.items():
        rows = []
        for name in filter(lambda name: name.packages, names):
            source = "" if name.packages[0] == RUNTIME else f" from `{name.packages[0]}`"
            link = f"[`{name.name}`]({name.page}#{anchor(name.name)})"
            rows.append(f"| {link}{source} | {_cell(name.summary)} |")
        parts.append(f"## [{room}]({names[0].page})\n\n{_first_sentence(room)}\n\n" + _table(rows))
    return "\n\n".join([*parts, _types()]) + "\n"


def _types() -> str:
    """The types that all rooms share, as a section."""
    rows = ["| type | definition | meaning |", "|---|---|---|"]
    for node, after in pairwise(parse(REPOSITORY / RUNTIME / "arrays.py").body):
        if isinstance(node, ast.Assign) and "TypeVar" not in ast.unparse(node.value):
            name, value = written(node.targets[0]), written(node.value)
            rows.append(f"| `{name}` | `{value}` | {_text_below(after)} |")
    text = (
        "Signatures use these types of `sal_runtime.arrays`. Shapes are given in brackets: N and n count rows, Q "
        "queries, A attributes; d is the length of an embedding."
    )
    return "\n\n".join(["## Types in signatures", _wrapped(text), "\n".join(rows)])


def _first_sentence(room: str) -> str:
    """The first paragraph of a room's own docstring."""
    path = REPOSITORY / room.replace(".", "/")
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return (ast.get_docstring(parse(source)) or "").partition("\n\n")[0].replace("\n", " ")


def _room(room: str, names: list[Described], targets: Mapping[str, str]) -> str:
    rows = [f"| [`{name.name}`](#{anchor(name.name)}) | {_cell(name.summary)} |" for name in names]
    parts = [f"# {room}", f"{_first_sentence(room)} [All rooms](README.md).", _table(rows)]
    for name in names:
        parts += _described(name, targets)
    return "\n\n".join(parts) + "\n"


def _table(rows: list[str]) -> str:
    return "\n".join(["| name | |", "|---|---|", *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _described(name: Described, targets: Mapping[str, str]) -> Iterator[str]:
    """The paragraphs about a name and its members."""
    yield f"## `{name.name}`"
    source = f"{name.home.replace('.', '/')}.py"
    others = "".join(f", also in `{package}`" for package in name.packages[1:])
    found = f"`from {name.packages[0]} import {name.name}`{others}." if name.packages else "Not public: it may move."
    yield f"{found} Defined in [{source}](../../{source})."
    own = {member.name: targets[f"{name.name}.{member.name}"] for member in name.members}
    known = {**own, **targets}
    if isinstance(name.node, ast.Assign):
        yield _code(f"{name.name} = {written(name.node.value)}")
        yield from _prose(name.doc, known, {})
        return
    if isinstance(name.node, Function):
        yield from _function(name.name, name.node, known)
        return
    assert isinstance(name.node, ast.ClassDef)
    yield from _class(name.node, known)
    if own:
        yield _wrapped("Members: " + ", ".join(_linked(f"`{member}`", own) for member in own) + ".")
    for member in name.members:
        yield f"### `{name.name}.{member.name}`"
        yield from _function(f"{name.name}.{member.name}", member, known)


def _class(node: ast.ClassDef, known: Mapping[str, str]) -> Iterator[str]:
    """What a class is, how one is made, and its attributes."""
    bases = [base for base in map(ast.unparse, node.bases) if base not in ("Protocol", "Exception")]
    made = [child for child in node.body if isinstance(child, Function) and child.name == "__init__"]
    fields = {}
    for child in node.body:
        if isinstance(child, ast.AnnAssign):
            fields[ast.unparse(child.target)] = _typed(child.annotation, child.value)
    if bases:
        yield "A kind of " + ", ".join(_linked(f"`{base}`", known) for base in bases) + "."
    private = [_docstring(constructor) for constructor in made if not _is_constructor(constructor)]
    yield from (_code(_signature(node.name, constructor)) for constructor in made if not private)
    yield from _prose(_docstring(node), known, fields)
    yield from (_linked(doc, known) for doc in private)
    if special := "\n".join(_used_as(node)):
        yield special


def _used_as(node: ast.ClassDef) -> Iterator[str]:
    """What `len` and the like give for an object of a class."""
    for child in node.body:
        if isinstance(child, Function) and child.name in SPECIAL:
            yield _wrapped(f"`{SPECIAL[child.name]}`: {_docstring(child)}", "* ")


def _function(title: str, node: Function, known: Mapping[str, str]) -> Iterator[str]:
    """A signature and its explanation."""
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    if decorators & {"property", "cached_property"}:
        yield f"Property of type `{written(node.returns) if node.returns else 'Any'}`."
    else:
        yield _code(_signature(title, node))
    annotations = f"{ast.unparse(node.args)} {ast.unparse(node.returns) if node.returns else ''}"
    mentioned = sorted(set(re.findall(r"\w+", annotations)))
    types = [f"[`{word}`]({known[word]})" for word in mentioned if word[:1].isupper() and word in known]
    if types:
        yield f"Types: {', '.join(types)}."
    yield from _prose(_docstring(node), known, {})


def _signature(title: str, node: Function) -> str:
    """A call with the types of its parameters, on one line where that is short enough."""
    everything = ast.parse(f"def f({ast.unparse(node.args)}): pass").body[0]
    assert isinstance(everything, ast.FunctionDef)
    arguments = everything.args
    if arguments.args and arguments.args[0].arg in ("self", "cls"):
        arguments.args.pop(0)
    returns = f" -> {written(node.returns)}" if node.returns and node.name != "__init__" else ""
    parameters = list(_each_parameter(arguments))
    line = f"{title}({', '.join(parameters)}){returns}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{title}(", *(f"    {parameter}," for parameter in parameters), f"){returns}"])


def _each_parameter(arguments: ast.arguments) -> Iterator[str]:
    """The text of each parameter with its default."""
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    for parameter, default in zip(positional, defaults, strict=True):
        yield written(parameter) + ("" if default is None else f" = {written(default)}")
    if arguments.vararg:
        yield f"*{written(arguments.vararg)}"
    elif arguments.kwonlyargs:
        yield "*"
    for parameter, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield written(parameter) + ("" if default is None else f" = {written(default)}")


def _typed(annotation: ast.expr, default: ast.expr | None) -> str:
    """Type and default of an attribute, in brackets as a list shows them."""
    value = "" if default is None or "factory" in written(default) else f", default `{written(default)}`"
    return f" (`{written(annotation)}`{value})"


def _prose(doc: str, known: Mapping[str, str], types: Mapping[str, str]) -> Iterator[str]:
    """A docstring as Markdown: its sections become lists."""
    parts = re.split(rf"^({'|'.join(SECTIONS)}):\n", doc, flags=re.MULTILINE)
    if parts[0].strip():
        yield _linked(parts[0].strip(), known)
    for section, text in zip(parts[1::2], parts[2::2], strict=True):
        body = textwrap.dedent(text).strip()
        entries = re.findall(r"^([\w.*]+): (.*(?:\n[ \n].*)*)", body, flags=re.MULTILINE)
        if section == "Returns" or not entries:
            yield _wrapped(f"**{SECTIONS[section]}** {_linked(' '.join(body.split()), known)}")
            continue
        lines = []
        for name, meaning in entries:
            title = _linked(f"`{name}`", known) if section == "Raises" else f"`{name}`"
            text = f"{title}{types.get(name, '')}: {_linked(' '.join(meaning.split()), known)}"
            lines.append(_wrapped(text, "* "))
        yield f"**{SECTIONS[section]}**\n\n" + "\n".join(lines)


def _linked(text: str, known: Mapping[str, str]) -> str:
    """Links from the names in code marks, and to the documents; code blocks stay as they are."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("    "):
            line = re.sub(
                r"`([A-Za-z_][\w.]*)`",
                lambda found: f"[{found[0]}]({known[found[1]]})" if found[1] in known else found[0],
                line,
            )
            line = re.sub(r"\bdocs/(\w+)\.md\b", r"[\1](../\1.md)", line)
        lines.append(line)
    return "\n".join(lines)


def _wrapped(text: str, bullet: str = "") -> str:
    """A paragraph or a point of a list, in lines of at most `WIDTH` characters."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=bullet,
        subsequent_indent=" " * len(bullet),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _code(text: str) -> str:
    return f"```python\n{text}\n```"
