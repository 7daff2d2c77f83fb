"""Formats a run can leave in."""

from __future__ import annotations

from collections.abc import Iterable

from cryorepro.plugins.hookspecs import hookimpl
from cryorepro.plugins.types import Exporter

CRYOREPRO_API = "1"


@hookimpl
def cryorepro_exporters() -> Iterable[Exporter]:
    """The plain record of a run, and the bundle."""
    yield Exporter(
        "json",
        "The whole record of a run as one JSON file",
        "cryorepro_exporters.record:JsonExporter",
        suffix=".json",
    )
    yield Exporter(
        "bundle",
        "A run as one file that anyone can verify offline and repeat (RO-Crate)",
        "cryorepro_exporters.bundle:BundleExporter",
        suffix=".zip",
    )
