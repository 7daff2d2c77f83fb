"""Where stages can be started: this machine."""

from __future__ import annotations

from collections.abc import Iterable

from cryorepro.plugins.hookspecs import hookimpl
from cryorepro.plugins.types import Executor

CRYOREPRO_API = "1"


@hookimpl
def cryorepro_executors() -> Iterable[Executor]:
    """The local executor."""
    yield Executor("local", "A process on this machine", "cryorepro_executors.local:LocalExecutor")
