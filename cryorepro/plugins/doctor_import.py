"""The worker that tries implementations for ``doctor --deep``; see :mod:`cryorepro.plugins.isolation`."""

from __future__ import annotations

from cryorepro.plugins.catalogue import Registered
from cryorepro.plugins.errors import PluginError
from cryorepro.plugins.implementation import instantiate
from cryorepro.plugins.isolation import serve
from cryorepro.plugins.types import Descriptor


def task_of(entry: Registered[Descriptor]) -> dict[str, str]:
    """What another process must know to import and use ``entry``."""
    return {
        "kind": entry.kind,
        "name": entry.name,
        "implementation": entry.descriptor.implementation,
        "plugin": entry.plugin,
        "distribution": entry.distribution,
        "version": entry.version,
    }


def entry_of(task: dict[str, str]) -> Registered[Descriptor]:
    """The entry of :func:`task_of`, as far as importing it needs."""
    descriptor = Descriptor(task["name"], "in another process", task["implementation"])
    return Registered(task["kind"], descriptor, task["plugin"], task["distribution"], task["version"])


def _try(task: dict[str, str]) -> str | None:
    try:
        instantiate(entry_of(task))
    except PluginError as problem:
        return str(problem)
    return None


if __name__ == "__main__":
    serve(_try)
