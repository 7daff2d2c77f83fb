"""FTP, for when HTTPS does not answer: one connection per range, restarted where it is to begin (RFC 3659)."""

from __future__ import annotations

import contextlib
import ftplib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

from cryorepro.workflow.fetch.errors import ChangedRemote, FetchError, NotFound, Retry, WrongContent
from cryorepro.workflow.fetch.pages import HEAD_BYTES, error_page
from cryorepro.workflow.fetch.remote import RemoteStat
from cryorepro.workflow.fetch.settings import FetchSettings
from cryorepro.workflow.fetch.stall import StallGuard

_BLOCK = 256 << 10
_UNREACHABLE = (ConnectionRefusedError, TimeoutError)


class FtpTransport:
    """Reads anonymously; see :class:`~cryorepro.workflow.fetch.remote.Transport`."""

    def __init__(self, settings: FetchSettings) -> None:
        self._settings = settings

    def close(self) -> None:
        """Nothing stays open between reads."""

    def stat(self, url: str, head_bytes: int = HEAD_BYTES) -> RemoteStat:
        """Size and date as the server states them, and the first bytes."""
        with self._session(url) as (ftp, path):
            size, modified = ftp.size(path), _modified(ftp, path)
            if size is None:
                raise FetchError(f"{url}: the server does not state the size of the file")
            stat = RemoteStat(url, size, None, modified, ranges=True)
            head = b"".join(self._blocks(ftp, path, 0, min(size, max(head_bytes, HEAD_BYTES)), url, threading.Event()))
        page = error_page(stat.name, head, None)
        if page is not None:
            raise WrongContent(f"{url}: the server sent {page} in place of the file")
        return RemoteStat(url, size, None, modified, True, head)

    def read(self, stat: RemoteStat, start: int, end: int | None, stop: threading.Event) -> Iterator[bytes]:
        """Bytes [start, end), after a look whether the file is still the one of `stat`."""
        with self._session(stat.url) as (ftp, path):
            if (ftp.size(path), _modified(ftp, path)) != (stat.size_bytes, stat.modified):
                raise ChangedRemote(f"{stat.url}: the file changed on the server while it was being read")
            last = end if end is not None else stat.size_bytes
            assert last is not None
            yield from self._blocks(ftp, path, start, last, stat.url, stop)

    def _blocks(
        self, ftp: ftplib.FTP, path: str, start: int, end: int, url: str, stop: threading.Event
    ) -> Iterator[bytes]:
        guard = StallGuard(self._settings)
        with ftp.transfercmd(f"RETR {path}", rest=start or None) as data:
            left = end - start
            while left > 0 and not stop.is_set():
                block = data.recv(min(_BLOCK, left))
                if not block:
                    raise Retry(f"{url}: the connection ended {left} bytes early")
                guard.received(len(block), url)
                left -= len(block)
                yield block

    @contextlib.contextmanager
    def _session(self, url: str) -> Iterator[tuple[ftplib.FTP, str]]:
        parts = urlsplit(url)
        path = unquote(parts.path)
        if "\r" in path or "\n" in path:
            raise FetchError(f"{url}: not an address of a file")
        ftp = ftplib.FTP(timeout=self._settings.read_timeout_s)
        try:
            ftp.connect(parts.hostname or "", parts.port or ftplib.FTP_PORT, self._settings.connect_timeout_s)
            ftp.login()
            ftp.voidcmd("TYPE I")
            yield ftp, path
        except ftplib.error_perm as error:
            if str(error).startswith("550"):
                raise NotFound(f"{url}: the archive has no such file") from error
            raise FetchError(f"{url}: the server refused ({str(error)[:80]})") from error
        except (OSError, EOFError, ftplib.Error) as error:
            lost = isinstance(error, _UNREACHABLE) or ftp.welcome is None
            raise Retry(f"{parts.netloc} cannot be reached by FTP ({error})", unreachable=lost) from error
        finally:
            ftp.close()


def _modified(ftp: ftplib.FTP, path: str) -> int | None:
    try:
        answer = ftp.voidcmd(f"MDTM {path}")
        moment = datetime.strptime(answer.split()[-1][:14], "%Y%m%d%H%M%S")
    except (ftplib.error_perm, ValueError):
        return None  # an optional command; without it the size alone is compared
    return int(moment.replace(tzinfo=UTC).timestamp())
