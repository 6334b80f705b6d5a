"""Reads and checks the file: what is wrong in it is said with file, line and key, and with what would be right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from isochrone.config.callers import CallerConfig, CallersConfig
from isochrone.config.fields import without_password
from isochrone.config.mesh import MeshConfig
from isochrone.errors import ConfigError

_Model = TypeVar("_Model", bound=BaseModel)


def load_config(path: Path) -> MeshConfig:
    """Reads and checks a mesh's file. Raises ConfigError with file, line and key."""
    return load_file(path, MeshConfig, required="routes")


def load_callers(path: Path) -> Mapping[str, CallerConfig]:
    """Reads and checks a file of callers. Raises ConfigError with file, line and key."""
    return load_file(path, CallersConfig, required="callers").callers


def load_file(path: Path, model: type[_Model], *, required: str) -> _Model:
    """Reads and checks a YAML file that holds a mapping. Raises ConfigError with file, line and key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: {error}") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{path}:{line}: not YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, AttributeError, LookupError, RecursionError) as error:
        # Control characters, a 13th month, "!!int" of nothing: PyYAML raises whatever it happens upon.
        raise ConfigError(f"{path}:1: not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(data, Mapping):
        raise ConfigError(f"{path}:1: should be a mapping with at least {required!r}")
    _refuse_repeated_keys(path, node, "")
    return validated(model, data, where=lambda loc: f"{path}:{_line_of(node, loc)}")


def line_of(path: Path, key: tuple[str, ...]) -> int:
    """The line of a key in a file that `load_config` has read, or of the deepest section of it that the file has."""
    return _line_of(yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader), key)


def place_of(path: Path, *location: str | int) -> str:
    """File, line and key of what stands there in a file that has been read: "mesh.yaml:9: redis.url"."""
    node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    return f"{path}:{_line_of(node, location)}: {'.'.join(map(str, location))}"


def validated(model: type[_Model], data: Any, *, where: Any) -> _Model:
    """`data` as `model`; `where(location)` says file and line of a key for the message of a ConfigError."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = []
        for problem in error.errors():
            location = problem["loc"]
            key = ".".join(str(part) for part in location if part != "[key]")
            problems.append(f"{where(location)}: {key or 'the file'}: {_in_words(problem, model)}")
        raise ConfigError("\n".join(problems)) from error


def _in_words(problem: Any, model: type[BaseModel]) -> str:
    kind, given = problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        known = _known_keys(model, problem["loc"][:-1])
        return f"no such key; known here: {', '.join(sorted(known))}" if known else "no such key"
    if kind == "missing":
        return "is required"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    is_secret = isinstance(given, Mapping) or "tokens" in problem["loc"]  # a token where its hash should be
    return message if is_secret else f"{message} (it is {_shown(given)!r})"


def _shown(given: Any) -> Any:
    return without_password(given) if isinstance(given, str) else given


def _known_keys(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """The keys of the section at a location, through mappings of sections."""
    current: Any = model
    for part in location:
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(part))
            current = field.annotation if field else None
        else:  # dict[Name, Section]
            arguments = [each for each in getattr(current, "__args__", ()) if each not in (None, NoneType, Ellipsis)]
            current = arguments[-1] if arguments else None
        if isinstance(current, UnionType):  # Section | None
            current = next((each for each in current.__args__ if each is not NoneType), None)
    if isinstance(current, type) and issubclass(current, BaseModel):
        return list(current.model_fields)
    return []


def _line_of(node: yaml.Node | None, location: tuple[Any, ...]) -> int:
    """The line of the deepest key of a location that the file has, counted from 1."""
    line = node.start_mark.line if node else 0
    for part in location:
        found = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    line, found = key.start_mark.line, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = node.value[part]
            line = found.start_mark.line
        if found is None:
            break
        node = found
    return line + 1


def _refuse_repeated_keys(path: Path, node: yaml.Node | None, prefix: str) -> None:
    """YAML readers silently keep the last of two equal keys; a person meant one of them."""
    if isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _refuse_repeated_keys(path, value, f"{prefix}{index}.")
    if not isinstance(node, yaml.MappingNode):
        return
    first: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.value in first:
            where = f"{path}:{line}: {prefix}{key.value}"
            raise ConfigError(f"{where}: given twice, first on line {first[key.value]}; keep one")
        first[key.value] = line
        _refuse_repeated_keys(path, value, f"{prefix}{key.value}.")
