"""Recipes: TOML and `key=value` overrides to a `Config`, strictly, and back."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from sal_runtime.errors import ConfigError
from sal_train.config import Config
from sal_train.datasets.text_files import read_text

TABLE_1 = ("dcca", "deepmar", "dccae", "2waynet", "cmce-like", "revise-like", "mmcc", "aaipr-like", "aihm-like")
"""The systems that SAL is compared with in Table 1 of its paper; "-like" where no code of the authors is known."""
RECIPES = ("sal", "accurate", "edge", "student", "paper", "tiny", *TABLE_1)


def load_config(recipe: str, overrides: Sequence[str] = ()) -> Config:
    """Read a recipe by name or path and apply `key=value` overrides.

    Args:
        recipe: one of `RECIPES`, or the path of a TOML file.
        overrides: `section.key=value` in TOML syntax (bare words are strings); a stage is named by number:
            `stages.0.epochs=10`.

    Raises:
        ConfigError: the recipe or a key does not exist, or a value has the wrong type.
    """
    tree = _read_recipe(recipe)
    for override in overrides:
        _apply_override(tree, override)
    return config_from_tree(tree)


def config_from_tree(tree: Mapping[str, Any]) -> Config:
    """A Config from nested dictionaries.

    Raises:
        ConfigError: a key is unknown, a value has the wrong type, or there is no stage.
    """
    config: Config = _build(Config, tree, "")
    if not config.stages:
        raise ConfigError("the recipe has no [[stages]]; add at least one, with phases, epochs and learning_rate")
    return config


def config_to_tree(config: Config) -> dict[str, Any]:
    """The inverse of `config_from_tree`: nested dictionaries that JSON and TOML can hold."""
    tree: dict[str, Any] = dataclasses.asdict(config)
    return tree


def config_to_toml(config: Config) -> str:
    """The configuration as a recipe that `load_config` reads back."""
    tree = config_to_tree(config)
    lines: list[str] = []
    for section, values in tree.items():
        tables = values if section == "stages" else [values]
        for table in tables:
            lines.append(f"[[{section}]]" if section == "stages" else f"[{section}]")
            lines += [f"{key} = {_toml_value(value)}" for key, value in table.items()]
            lines.append("")
    return "\n".join(lines)


def _read_recipe(recipe: str) -> dict[str, Any]:
    if recipe in RECIPES:
        text = resources.files("sal_train").joinpath("recipes", f"{recipe}.toml").read_text(encoding="utf-8")
    else:
        path = Path(recipe)
        if not path.is_file():
            meant = f" (did you mean {recipe}-like?)" if f"{recipe}-like" in RECIPES else ""
            raise ConfigError(
                f"recipe {recipe}: no such recipe{meant}; expected one of {', '.join(RECIPES)} or a .toml file",
                parameter="recipe",
            )
        text = read_text(path)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"recipe {recipe}: not valid TOML: {error}") from error


def _apply_override(tree: dict[str, Any], override: str) -> None:
    path, separator, text = override.partition("=")
    if not separator:
        raise ConfigError(f"setting {override!r}: expected key=value, such as data.batch_size=64")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = path.strip().split(".")
    node: Any = tree
    for name in parents:
        if isinstance(node, list):
            if not name.isdigit() or int(name) >= len(node):
                raise ConfigError(f"{path}: {name!r} is not a stage number; there are {len(node)} stages, from 0")
            node = node[int(name)]
        else:
            node = node.setdefault(name, {})
    if not isinstance(node, dict):
        raise ConfigError(f"{path}: names no setting; expected section.key=value")
    node[last] = value


def _build(kind: Any, tree: Any, where: str) -> Any:
    """`tree` as an instance of the dataclass `kind`."""
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{where or 'recipe'}: got {tree!r}, expected a table of settings")
    hints = get_type_hints(kind)
    known = [entry.name for entry in dataclasses.fields(kind)]
    values = {}
    for key, value in tree.items():
        if key not in known:
            raise ConfigError(f"{where}{key}: unknown key; known keys: {', '.join(known)}")
        values[key] = _convert(hints[key], value, f"{where}{key}")
    return kind(**values)


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, f"{where}.")
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(f"{where}: got {value!r}, expected one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where}: got {value!r}, expected a list")
        return tuple(_convert(arguments[0], entry, f"{where}.{index}") for index, entry in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where}: got {value!r}, expected a table")
        return {str(key): _convert(arguments[1], entry, f"{where}.{key}") for key, entry in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        raise ConfigError(f"{where}: got {value!r}, expected {hint.__name__}")
    return value


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml_value(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(entry) for entry in value) + "]"
    return repr(value)
