"""Brings a run into the index after its journal is complete; the index is second and may fail."""

from __future__ import annotations

from cryorepro.store.errors import StoreError
from cryorepro.store.home import Home
from cryorepro.store.index import Index
from cryorepro.store.ingest import ingest


def index_run(home: Home, run_uid: str) -> str | None:
    """Fold one run into the index; returns the reason when that was not possible (nothing is lost)."""
    try:
        with Index.open(home) as index:
            ingest(index, [run_uid])
    except StoreError as error:
        return str(error)
    return None
