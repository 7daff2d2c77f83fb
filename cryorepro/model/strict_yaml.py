"""YAML from strangers: bounded, no aliases, no duplicate keys, and every value knows its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from cryorepro.em.errors import InputError
from cryorepro.model.base import Record

MAXIMUM_BYTES = 1_000_000
MAXIMUM_DEPTH = 30

R = TypeVar("R", bound=Record)
Location = tuple[int | str, ...]

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_record(path: Path, model: type[R]) -> R:
    """Read ``path`` as one record of ``model``.

    Raises:
        InputError: unreadable, too large, not plain YAML, or a field is wrong; names file, line and field.
    """
    node = compose(path)
    content = plain(node, path)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InputError(explain(path, node, error)) from error


def load_records(path: Path, model: type[R]) -> list[R]:
    """Read ``path`` as a list of records of ``model``; errors as :func:`load_record`."""
    node = compose(path)
    content = plain(node, path)
    if not isinstance(content, list):
        raise InputError(f"{path}:1: a list was expected")
    records = []
    for index, item in enumerate(content):
        try:
            records.append(model.model_validate(item))
        except ValidationError as error:
            raise InputError(explain(path, node, error, (index,))) from error
    return records


def load_named(path: Path, model: type[R], name: Callable[[R], str]) -> dict[str, R]:
    """Read ``path`` as a list of records, each by its name.

    Raises:
        InputError: as :func:`load_record`, or a name is used twice.
    """
    found: dict[str, R] = {}
    for record in load_records(path, model):
        if name(record) in found:
            raise InputError(f"{path}: '{name(record)}' is listed twice")
        found[name(record)] = record
    return found


def compose(path: Path) -> yaml.Node:
    """The node tree of ``path``, after the checks on size, aliases and depth."""
    try:
        size = path.stat().st_size
        if size > MAXIMUM_BYTES:
            raise InputError(f"{path}: {size:,} bytes is larger than the {MAXIMUM_BYTES:,} a YAML file here may have")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        _refuse_aliases(path, text)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise InputError(f"{path}{_mark(error)}: not valid YAML ({_problem(error)})") from error
    if node is None:
        raise InputError(f"{path}:1: the file is empty")
    return node


def _refuse_aliases(path: Path, text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = _event_line(event)
        if isinstance(event, yaml.AliasEvent):
            raise InputError(f"{path}:{line}: YAML aliases are not accepted here ('*{event.anchor}')")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAXIMUM_DEPTH:
                raise InputError(f"{path}:{line}: nested deeper than {MAXIMUM_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _event_line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 1


def plain(node: yaml.Node, path: Path) -> Any:
    """The node tree as Python values; duplicate keys and unknown tags are refused."""
    if isinstance(node, yaml.MappingNode):
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = plain(key_node, path)
            if not isinstance(key, str):
                raise InputError(f"{path}:{key_node.start_mark.line + 1}: keys must be text, not {key!r}")
            if key in result:
                raise InputError(f"{path}:{key_node.start_mark.line + 1}: key '{key}' is given twice")
            result[key] = plain(value_node, path)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [plain(item, path) for item in node.value]
    try:
        return _scalar(node)
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path}:{node.start_mark.line + 1}: unreadable value '{node.value}'") from error


def _scalar(node: yaml.Node) -> Any:
    constructor = yaml.constructor.SafeConstructor()
    if node.tag == "tag:yaml.org,2002:timestamp":
        return str(node.value)
    return constructor.construct_object(node)


def explain(path: Path, node: yaml.Node, error: ValidationError, prefix: Location = ()) -> str:
    """One sentence for the first field of ``error``, with its line; ``prefix`` says where in ``node`` the record is."""
    first = error.errors()[0]
    location = prefix + tuple(first["loc"])
    field = ".".join(str(part) for part in location) or "the record"
    if first["type"] == "extra_forbidden":
        message = "this key is not known here"
    else:
        message = first["msg"].removeprefix("Value error, ")
    more = len(error.errors()) - 1
    tail = f" (and {more} more)" if more else ""
    return f"{path}:{_line(node, location)}: field '{field}': {message}{tail}"


def _line(node: yaml.Node, location: Location) -> int:
    line = node.start_mark.line
    for part in location:
        step: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for key_node, value_node in node.value:
                if key_node.value == part:
                    line, step = key_node.start_mark.line, value_node
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            step = node.value[part]
            line = step.start_mark.line
        if step is None:
            break
        node = step
    return int(line) + 1


def _mark(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}" if mark is not None else ""


def _problem(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or error).splitlines()[0]
