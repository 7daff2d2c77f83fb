"""One transfer: its settings, transports, rate limit and meter, shared by all files of one command."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

from cryorepro.workflow.fetch.errors import FetchError, Retry, Unreachable
from cryorepro.workflow.fetch.ftp import FtpTransport
from cryorepro.workflow.fetch.http import HttpTransport
from cryorepro.workflow.fetch.meter import Meter
from cryorepro.workflow.fetch.pages import HEAD_BYTES
from cryorepro.workflow.fetch.rate import RateLimiter
from cryorepro.workflow.fetch.remote import RemoteStat, Transport
from cryorepro.workflow.fetch.retry import Patience
from cryorepro.workflow.fetch.settings import FetchSettings

T = TypeVar("T")
Notice = Callable[[str], None]


def silent(text: str) -> None:
    """Say nothing."""
    del text


@dataclass
class Transfer:
    """What every file of one command has in common. `notice` is told what a person should know."""

    settings: FetchSettings
    meter: Meter = field(default_factory=Meter)
    notice: Notice = silent

    def __post_init__(self) -> None:
        self.limiter = RateLimiter(self.settings.rate_limit)
        self._http, self._ftp = HttpTransport(self.settings), FtpTransport(self.settings)

    def transport(self, url: str) -> Transport:
        """The one that reads this address. Raises FetchError for an unknown scheme."""
        scheme = urlsplit(url).scheme
        if scheme in ("https", "http"):
            return self._http
        if scheme == "ftp":
            return self._ftp
        raise FetchError(f"{url}: addresses of this kind cannot be read")

    def stat(self, url: str, head_bytes: int = HEAD_BYTES) -> RemoteStat:
        """Look at a file, with tries.

        Raises:
            Unreachable: the server does not answer.
            FetchError: it refuses, or sends something else.
        """
        place = self.settings.mirrored(url)
        return self.patiently(lambda: self.transport(place).stat(place, head_bytes))

    def stat_first(self, urls: Sequence[str], head_bytes: int = HEAD_BYTES) -> RemoteStat:
        """Look at the first of several addresses of one file that can be reached."""
        problems = []
        for url in urls:
            try:
                return self.stat(url, head_bytes)
            except Unreachable as error:
                problems.append(error)
                if url != urls[-1]:
                    self.notice(f"{error}; trying {urls[len(problems)]}")
        raise problems[0]

    def patiently(self, call: Callable[[], T]) -> T:
        """Call until it does not raise Retry, within bounds."""
        patience, stop = Patience(self.settings, random.Random()), threading.Event()
        while True:
            try:
                return call()
            except Retry as error:
                if patience.exhausted(error.unreachable):
                    raise error.given_up(patience.failures) from error
                stop.wait(patience.wait_s(error.after_s))

    def close(self) -> None:
        """Close idle connections."""
        self._http.close()


@contextmanager
def transfer(
    settings: FetchSettings | None = None, meter: Meter | None = None, notice: Notice = silent
) -> Iterator[Transfer]:
    """A transfer that closes its connections."""
    one = Transfer(settings or FetchSettings(), meter or Meter(), notice)
    try:
        yield one
    finally:
        one.close()
