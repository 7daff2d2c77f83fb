"""Whether what the plugins registered could work here, and if not, why. Imports no implementation itself."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Literal

from cryorepro.plugins.catalogue import Catalogue, Registered
from cryorepro.plugins.doctor_import import task_of
from cryorepro.plugins.isolation import run_isolated
from cryorepro.plugins.types import KINDS, Descriptor

Status = Literal["ok", "missing-requirement", "broken"]


@dataclass(frozen=True)
class Diagnosis:
    """One descriptor's state on this machine. ``notes`` are facts to know that stop nothing."""

    kind: str
    name: str
    plugin: str
    distribution: str
    version: str
    status: Status
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def doctor(catalogue: Catalogue, deep: bool = False, timeout_s: float = 60.0) -> list[Diagnosis]:
    """Diagnose every descriptor, by kind and name.

    Args:
        catalogue: what to look at.
        deep: also import and check each implementation, in another process.
        timeout_s: seconds that one such import may take.
    """
    entries = [entry for kind in KINDS for entry in catalogue.all(kind)]
    missing = {(entry.kind, entry.name): missing_requirements(entry.descriptor) for entry in entries}
    able = [entry for entry in entries if not missing[entry.kind, entry.name]]
    failures = _import_failures(able, timeout_s) if deep else {}
    return [_diagnose(entry, missing[entry.kind, entry.name], failures) for entry in entries]


def _import_failures(entries: list[Registered[Descriptor]], timeout_s: float) -> dict[tuple[str, str], str]:
    answers = run_isolated("cryorepro.plugins.doctor_import", [task_of(entry) for entry in entries], timeout_s)
    failures: dict[tuple[str, str], str] = {}
    for entry, answer in zip(entries, answers, strict=True):
        problem = f"{entry.label}: importing it {answer.error}" if answer.error else answer.value
        if problem is not None:
            failures[entry.kind, entry.name] = str(problem)
    return failures


def _diagnose(entry: Registered[Descriptor], missing: list[str], failures: Mapping[tuple[str, str], str]) -> Diagnosis:
    failure = failures.get((entry.kind, entry.name))
    module = entry.descriptor.implementation.partition(":")[0]
    if failure is None and not missing and not has_module(module):
        failure = f"its implementation's module {module} does not exist"
    status: Status = "broken" if failure else "missing-requirement" if missing else "ok"
    return Diagnosis(
        kind=entry.kind,
        name=entry.name,
        plugin=entry.plugin,
        distribution=entry.distribution,
        version=entry.version,
        status=status,
        reasons=(failure,) if failure else tuple(missing),
        notes=tuple(_notes(entry.descriptor)),
    )


def missing_requirements(descriptor: Descriptor) -> list[str]:
    """One sentence for each declared requirement that is not met here."""
    requires = descriptor.requires
    missing = [f"no executable '{name}' on PATH" for name in requires.executables if shutil.which(name) is None]
    missing += [f"no Python module '{name}'" for name in requires.modules if not has_module(name)]
    if requires.settings:
        variable, place = requires.settings
        named = os.environ.get(variable)
        if not Path(named or place).expanduser().is_file():
            lacking = f"{named} (named by {variable}) does not exist" if named else f"write {place} or set {variable}"
            missing.append(f"no settings file: {lacking}")
    if requires.gpu:
        problem = no_gpu()
        if problem:
            missing.append(problem)
    return missing


def _notes(descriptor: Descriptor) -> list[str]:
    notes = ["needs the network"] if descriptor.requires.network else []
    if descriptor.requires.licence:
        notes.append(f"licence: {descriptor.requires.licence}")
    return notes


def has_module(dotted: str) -> bool:
    """Whether ``dotted`` could be imported, found without importing it or any parent package."""
    top, *rest = dotted.split(".")
    try:
        spec = importlib.util.find_spec(top)
        name = top
        for part in rest:
            if spec is None or spec.submodule_search_locations is None:
                return False
            name = f"{name}.{part}"
            spec = PathFinder.find_spec(name, list(spec.submodule_search_locations))
    except (ImportError, ValueError, AttributeError):
        return False
    return spec is not None


def no_gpu() -> str | None:
    """Why no NVIDIA GPU can be used here; None when there is one."""
    try:
        import pynvml
    except ImportError:
        return "no NVIDIA GPU can be looked for: Python module 'pynvml' (nvidia-ml-py) is missing"
    try:
        pynvml.nvmlInit()
        try:
            count = pynvml.nvmlDeviceGetCount()
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        return f"no NVIDIA GPU: {error}"
    return None if count else "no NVIDIA GPU: the driver lists none"
