"""Descriptors: the small frozen records a plugin registers. Importing this module imports no numerics.

A descriptor says what exists and what it needs; ``implementation`` is an import path ``module:attribute`` that is
loaded only when the thing is used. Every descriptor of one kind is checked on use against the interface of its
kind in :mod:`cryorepro.plugins.interfaces`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryorepro.model.dataset import DatasetInfo

API_VERSION = "1.1"
"""Version of this contract. A plugin declares the major it was written for as ``CRYOREPRO_API = "1"``."""

_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]*$")
_PATH = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")


@dataclass(frozen=True)
class Requirements:
    """What must be at hand before the implementation can work.

    ``settings`` are an environment variable that names a file, and the place the file is looked for without it.
    """

    executables: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    gpu: bool = False
    network: bool = False
    licence: str | None = None
    settings: tuple[str, str] | None = None


@dataclass(frozen=True)
class Descriptor:
    """Common to all kinds. Raises ValueError when a field is malformed."""

    name: str
    summary: str
    implementation: str
    requires: Requirements = field(default_factory=Requirements, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse malformed descriptors where they are made, so that the loader can name the plugin."""
        for label, value in (("name", self.name), ("summary", self.summary), ("implementation", self.implementation)):
            if not isinstance(value, str) or not value:
                raise ValueError(f"{type(self).__name__}.{label} must be a non-empty string")
        if not _NAME.match(self.name):
            raise ValueError(f"{type(self).__name__}.name '{self.name}' must be lower-case letters, digits, - or _")
        if not _PATH.match(self.implementation):
            raise ValueError(f"{type(self).__name__} '{self.name}': implementation must read 'module:attribute'")


@dataclass(frozen=True)
class Dataset(Descriptor):
    """An archive entry with its tiers. Implementation: :class:`~cryorepro.plugins.interfaces.DatasetSource`.

    >>> Dataset("empiar-1", "An example", "my_package.data:Example", info=None)  # doctest: +SKIP
    """

    info: DatasetInfo = field(kw_only=True)


@dataclass(frozen=True)
class Runner(Descriptor):
    """A plugin that carries out stages. Implementation: :class:`~cryorepro.plugins.interfaces.StageRunner`.

    ``parameter_models`` gives the pydantic model (import path) of each stage kind the framework does not know.
    """

    stages: tuple[str, ...] = field(kw_only=True)
    parameter_models: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    deterministic: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class Probe(Descriptor):
    """Measures one aspect of the machine. Implementation: :class:`~cryorepro.plugins.interfaces.MachineProbe`."""


@dataclass(frozen=True)
class Metric(Descriptor):
    """Measures an outcome from artifacts. Implementation: :class:`~cryorepro.plugins.interfaces.OutcomeMetric`."""

    unit: str = field(kw_only=True)
    needs_truth: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class Exporter(Descriptor):
    """Writes a run for others. Implementation: :class:`~cryorepro.plugins.interfaces.RunExporter`."""

    suffix: str = field(kw_only=True)


@dataclass(frozen=True)
class Importer(Descriptor):
    """Reads what another program did as a run. Implementation: :class:`~cryorepro.plugins.interfaces.RunImporter`."""


@dataclass(frozen=True)
class Executor(Descriptor):
    """Starts a stage's process somewhere. Implementation: :class:`~cryorepro.plugins.interfaces.StageExecutor`."""


@dataclass(frozen=True)
class Spec(Descriptor):
    """A benchmark. ``implementation`` names a callable that returns the path of its YAML file."""


KINDS: dict[str, type[Descriptor]] = {
    "datasets": Dataset,
    "runners": Runner,
    "probes": Probe,
    "metrics": Metric,
    "exporters": Exporter,
    "importers": Importer,
    "executors": Executor,
    "specs": Spec,
}
