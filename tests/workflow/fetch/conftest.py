"""A cache, settings that do not wait, and a misbehaving server with one file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cryorepro.workflow.fetch.cache import Cache
from cryorepro.workflow.fetch.files import fetch_file
from cryorepro.workflow.fetch.manifest import KnownFile
from cryorepro.workflow.fetch.meter import Meter
from cryorepro.workflow.fetch.settings import FetchSettings
from cryorepro.workflow.fetch.transfer import transfer
from tests.workflow.fetch.server import Conduct, Server, make_file, serving

QUICK = FetchSettings(
    connections=4, piece_bytes=256 << 10, attempts=4, backoff_base_s=0.005, backoff_cap_s=0.02,
    connect_timeout_s=5, read_timeout_s=5, stall_s=0.5, stall_bytes=64 << 10, commit_s=0.05,
)  # fmt: skip
SIZE = 3_000_017


@dataclass
class Place:
    """A server with ``movie.mrcs``, a cache, and what a person would be told."""

    server: Server
    cache: Cache
    sha256: str
    notices: list[str] = field(default_factory=list)
    meter: Meter = field(default_factory=Meter)

    @property
    def source(self) -> Path:
        return self.server.root / "movie.mrcs"

    @property
    def target(self) -> Path:
        return self.cache.path("deposit/movie.mrcs")

    def conduct(self, **changes: object) -> None:
        """How the server behaves from now on; its requests are counted anew."""
        self.server.conduct = Conduct(**changes)  # type: ignore[arg-type]
        with self.server.tally.lock:
            self.server.tally.requests = self.server.tally.sent = 0

    def fetch(self, known: KnownFile | None = None, urls: list[str] | None = None, **settings: object) -> Path:
        self.meter = Meter()
        chosen = replace(QUICK, **settings)  # type: ignore[arg-type]
        with transfer(chosen, self.meter, self.notices.append) as one:
            return fetch_file(self.cache, one, "deposit/movie.mrcs", urls or [self.server.url + "movie.mrcs"], known)

    def leftovers(self) -> list[str]:
        """Hidden files beside the target."""
        return sorted(path.name for path in self.target.parent.glob(".*"))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    digest = make_file(tmp_path / "served" / "movie.mrcs", SIZE)
    with serving(tmp_path / "served") as server:
        yield Place(server, Cache(tmp_path / "cache" / "a-dataset"), digest)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str], Server]]:
    """Servers of folders below the test's own."""
    servers: list[Server] = []

    def start(name: str) -> Server:
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        servers.append(Server(tmp_path / name).start())
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
