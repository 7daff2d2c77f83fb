"""From a descriptor to the thing it names: imported on use, held to the interface of its kind."""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, overload

from cryorepro.em.errors import InputError
from cryorepro.model.stage import StageFailure
from cryorepro.plugins import interfaces
from cryorepro.plugins.catalogue import Registered
from cryorepro.plugins.errors import PluginError, one_line
from cryorepro.plugins.types import Dataset, Descriptor, Executor, Exporter, Importer, Metric, Probe, Runner, Spec

INTERFACES: dict[str, type] = {
    "datasets": interfaces.DatasetSource,
    "runners": interfaces.StageRunner,
    "probes": interfaces.MachineProbe,
    "metrics": interfaces.OutcomeMetric,
    "exporters": interfaces.RunExporter,
    "importers": interfaces.RunImporter,
    "executors": interfaces.StageExecutor,
}


@contextlib.contextmanager
def guarded(registered: Registered[Descriptor], doing: str) -> Iterator[None]:
    """Run a plugin's code: what it is allowed to raise passes, anything else becomes a PluginError.

    Allowed are InputError, StageFailure and KeyboardInterrupt. SystemExit is not: a plugin does not end the
    command.
    """
    try:
        yield
    except (InputError, StageFailure, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise PluginError(f"{registered.label} failed while {doing}: {one_line(error)}") from error


@overload
def instantiate(registered: Registered[Dataset]) -> interfaces.DatasetSource: ...
@overload
def instantiate(registered: Registered[Runner]) -> interfaces.StageRunner: ...
@overload
def instantiate(registered: Registered[Probe]) -> interfaces.MachineProbe: ...
@overload
def instantiate(registered: Registered[Metric]) -> interfaces.OutcomeMetric: ...
@overload
def instantiate(registered: Registered[Exporter]) -> interfaces.RunExporter: ...
@overload
def instantiate(registered: Registered[Importer]) -> interfaces.RunImporter: ...
@overload
def instantiate(registered: Registered[Executor]) -> interfaces.StageExecutor: ...
@overload
def instantiate(registered: Registered[Descriptor]) -> Any: ...


def instantiate(registered: Registered[Any]) -> Any:
    """Import the implementation, call it if it is a class, and check it against the interface of its kind.

    For a spec the implementation is the callable itself; see :func:`spec_path`.

    Raises:
        PluginError: it cannot be imported, made, or lacks a method of the interface.
    """
    found = load_attribute(registered, registered.descriptor.implementation)
    if registered.kind == "specs":
        if not callable(found):
            raise PluginError(f"{registered.label}: {registered.descriptor.implementation} is not callable")
        return found
    if inspect.isclass(found):
        with guarded(registered, "being made"):
            found = found()
    problem = lacks(found, INTERFACES[registered.kind])
    if problem:
        raise PluginError(f"{registered.label}: {registered.descriptor.implementation} {problem}")
    return found


def load_attribute(registered: Registered[Descriptor], path: str) -> Any:
    """The object at ``module:attribute``, for a plugin.

    Raises:
        PluginError: the module cannot be imported or has no such attribute.
    """
    module_name, _, attribute = path.partition(":")
    with guarded(registered, f"importing {module_name}"):
        module = importlib.import_module(module_name)
    found = getattr(module, attribute, None)
    if found is None:
        raise PluginError(f"{registered.label}: module {module_name} has no attribute '{attribute}'")
    return found


def spec_path(registered: Registered[Spec]) -> Path:
    """The YAML file of a registered benchmark.

    Raises:
        PluginError: the callable fails or names no existing file.
    """
    call = instantiate(registered)
    with guarded(registered, "naming its file"):
        path = Path(call())
    if not path.is_file():
        raise PluginError(f"{registered.label}: its file {path.name} does not exist")
    return path


def lacks(candidate: object, interface: type) -> str | None:
    """What ``candidate`` lacks to serve as ``interface``; None when nothing.

    Every public method must be there, be callable, and take the interface's arguments by position.
    """
    for name, method in vars(interface).items():
        if name.startswith("_") or not callable(method):
            continue
        found = getattr(candidate, name, None)
        if not callable(found):
            return f"has no method '{name}', which {interface.__name__} needs"
        wanted = [part for part in inspect.signature(method).parameters if part != "self"]
        if not _takes(found, len(wanted)):
            return f"has a method '{name}' that does not take ({', '.join(wanted)})"
    return None


def _takes(method: Any, count: int) -> bool:
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):  # built-in callables may have no readable signature
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True
