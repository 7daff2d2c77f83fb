"""The datasets that ship with cryorepro."""

from __future__ import annotations

from collections.abc import Iterable

from cryorepro.plugins.hookspecs import hookimpl
from cryorepro.plugins.types import Dataset
from cryorepro_datasets.archive_entries import SUMMARIES, descriptor
from cryorepro_datasets.empiar_10028 import DATASET as EMPIAR_10028
from cryorepro_datasets.empiar_10146 import DATASET as EMPIAR_10146

CRYOREPRO_API = "1"


@hookimpl
def cryorepro_datasets() -> Iterable[Dataset]:
    """Those that can be prepared for a run, then those that are declared and fetched."""
    yield EMPIAR_10028
    yield EMPIAR_10146
    yield from map(descriptor, SUMMARIES)
