"""What a plugin module and its descriptors must look like. A breach is a ContractError."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields

from cryorepro.model.dataset import DatasetInfo
from cryorepro.plugins.errors import ContractError
from cryorepro.plugins.types import (
    API_VERSION,
    KINDS,
    Dataset,
    Descriptor,
    Exporter,
    Metric,
    Requirements,
    Runner,
)

_MOST = 1000
_STAGE = re.compile(r"^[a-z0-9][a-z0-9_-]*$")
_PATH = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")


def check_api(module: object) -> str:
    """The API version a plugin module declares, if this framework serves it.

    Raises:
        ContractError: it declares none, another major, or a later minor; the sentence names both versions.
    """
    declared = getattr(module, "CRYOREPRO_API", None)
    if declared is None:
        raise ContractError(f"the module declares no CRYOREPRO_API; this cryorepro serves API {API_VERSION}")
    match = re.fullmatch(r"(\d+)(?:\.(\d+))?", declared) if isinstance(declared, str) else None
    if match is None:
        raise ContractError(f"CRYOREPRO_API must be a string such as '1', not {declared!r}")
    major, minor = (int(part) for part in API_VERSION.split("."))
    if int(match[1]) != major:
        raise ContractError(f"the plugin is written for API {declared}, this cryorepro serves API {API_VERSION}")
    if int(match[2] or 0) > minor:
        raise ContractError(f"the plugin needs API {declared}, this cryorepro serves only API {API_VERSION}")
    return str(declared)


def check_descriptors(kind: str, items: object) -> list[Descriptor]:
    """What a hook of ``kind`` gave, as a list of descriptors of that kind with distinct names.

    Raises:
        ContractError: it is not iterable, or an item is of another type, is malformed or repeats a name.
    """
    if not isinstance(items, Iterable) or isinstance(items, str | bytes | Mapping):
        raise ContractError(f"hook cryorepro_{kind} must yield descriptors, it gave {_a(items)}")
    checked: dict[str, Descriptor] = {}
    for item in items:
        row = check_descriptor(kind, item)
        if row.name in checked:
            raise ContractError(f"hook cryorepro_{kind} registers '{row.name}' twice")
        if len(checked) == _MOST:
            raise ContractError(f"hook cryorepro_{kind} yields more than {_MOST} descriptors")
        checked[row.name] = row
    return list(checked.values())


def check_descriptor(kind: str, item: object) -> Descriptor:
    """``item``, or a ContractError unless it is a well-formed descriptor of ``kind``."""
    expected = KINDS[kind]
    if not isinstance(item, expected):
        raise ContractError(f"hook cryorepro_{kind} must yield {expected.__name__}, it gave {_a(item)}")
    where = f"{expected.__name__} '{item.name}'"
    _check_requirements(where, item.requires)
    if isinstance(item, Dataset) and not isinstance(item.info, DatasetInfo):
        raise ContractError(f"{where}: info must be a DatasetInfo, not {_a(item.info)}")
    if isinstance(item, Runner):
        _check_runner(where, item)
    if isinstance(item, Metric) and not (isinstance(item.unit, str) and item.unit):
        raise ContractError(f"{where}: unit must be a non-empty string")
    if isinstance(item, Exporter) and not (isinstance(item.suffix, str) and item.suffix.startswith(".")):
        raise ContractError(f"{where}: suffix must be a string that starts with a dot")
    return item


def _check_requirements(where: str, requires: object) -> None:
    if not isinstance(requires, Requirements):
        raise ContractError(f"{where}: requires must be Requirements, not {_a(requires)}")
    for part in fields(requires):
        value = getattr(requires, part.name)
        if part.name in ("executables", "modules"):
            good = _strings(value)
        elif part.name == "settings":
            good = value is None or (_strings(value) and len(value) == 2)
        elif part.name == "licence":
            good = value is None or isinstance(value, str)
        else:
            good = isinstance(value, bool)
        if not good:
            raise ContractError(f"{where}: requires.{part.name} has the wrong type: {value!r}")


def _check_runner(where: str, runner: Runner) -> None:
    if not (_strings(runner.stages) and runner.stages and all(_STAGE.match(stage) for stage in runner.stages)):
        raise ContractError(f"{where}: stages must be a non-empty tuple of stage kinds")
    if not isinstance(runner.parameter_models, Mapping):
        raise ContractError(f"{where}: parameter_models must map a stage kind to an import path")
    for stage, path in runner.parameter_models.items():
        if stage not in runner.stages or not (isinstance(path, str) and _PATH.match(path)):
            raise ContractError(
                f"{where}: parameter_models[{stage!r}] must give one of its stages a 'module:attribute'"
            )


def _strings(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(part, str) and part for part in value)


def _a(item: object) -> str:
    return "None" if item is None else f"a {type(item).__name__}"
