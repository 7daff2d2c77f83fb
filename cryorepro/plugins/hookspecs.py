"""The hooks: each yields descriptors. This screen is the whole of what a plugin can add."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from cryorepro.plugins.types import Dataset, Executor, Exporter, Importer, Metric, Probe, Runner, Spec

hookspec = pluggy.HookspecMarker("cryorepro")
hookimpl = pluggy.HookimplMarker("cryorepro")


@hookspec
def cryorepro_datasets() -> Iterable[Dataset]:
    """Datasets: archive entries with their tiers."""
    raise NotImplementedError


@hookspec
def cryorepro_runners() -> Iterable[Runner]:
    """Runners: programs that carry out stages."""
    raise NotImplementedError


@hookspec
def cryorepro_probes() -> Iterable[Probe]:
    """Probes: measurements of one aspect of the machine."""
    raise NotImplementedError


@hookspec
def cryorepro_metrics() -> Iterable[Metric]:
    """Metrics: outcomes measured from artifacts that a run wrote."""
    raise NotImplementedError


@hookspec
def cryorepro_exporters() -> Iterable[Exporter]:
    """Exporters: formats a run can leave in."""
    raise NotImplementedError


@hookspec
def cryorepro_importers() -> Iterable[Importer]:
    """Importers: runs of other programs, read from what those left."""
    raise NotImplementedError


@hookspec
def cryorepro_executors() -> Iterable[Executor]:
    """Executors: places a stage's process can be started."""
    raise NotImplementedError


@hookspec
def cryorepro_specs() -> Iterable[Spec]:
    """Specs: benchmarks, one YAML file each."""
    raise NotImplementedError
