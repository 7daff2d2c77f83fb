"""An archive with the settings a person's environment asks for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from cryorepro.model.dataset import DatasetInfo
from cryorepro.store.home import Home
from cryorepro.workflow.fetch.archive import CachedArchive
from cryorepro.workflow.fetch.meter import Meter
from cryorepro.workflow.fetch.settings import FetchSettings, mirrors_of
from cryorepro.workflow.fetch.transfer import Notice, transfer


def say(text: str) -> None:
    """To standard error, one line."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def open_archive(
    info: DatasetInfo, settings: FetchSettings | None = None, meter: Meter | None = None, notice: Notice = say
) -> Iterator[CachedArchive]:
    """The archive entry of `info`, read into the store's cache."""
    chosen = settings or FetchSettings(mirrors=mirrors_of())
    with transfer(chosen, meter, notice) as connections:
        yield CachedArchive(Home.locate().cache, connections, info)
