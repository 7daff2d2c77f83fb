"""HTTPS: one connection pool, ranges that are checked, redirects that do not leave TLS."""

from __future__ import annotations

import ssl
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    SSLError,
)

import cryorepro
from cryorepro.workflow.fetch.errors import FetchError, NoRanges, NotFound, Retry
from cryorepro.workflow.fetch.http_answers import (
    check_answer,
    declared_size,
    discard,
    read_block,
    read_head,
    reason,
    refuse_page,
)
from cryorepro.workflow.fetch.pages import HEAD_BYTES
from cryorepro.workflow.fetch.remote import RemoteStat
from cryorepro.workflow.fetch.retry import epoch_of, retry_after_s
from cryorepro.workflow.fetch.settings import FetchSettings
from cryorepro.workflow.fetch.stall import StallGuard

_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_UNREACHABLE = (NewConnectionError, NameResolutionError, ConnectTimeoutError, ProxyError, ssl.SSLError, SSLError)
_MAXIMUM_REDIRECTS = 5
BLOCK_BYTES = 256 << 10


class HttpTransport:
    """Reads over HTTP(S); proxies as the environment says, certificates of the system."""

    def __init__(self, settings: FetchSettings) -> None:
        self._settings = settings
        self._timeout = urllib3.Timeout(connect=settings.connect_timeout_s, read=settings.read_timeout_s)
        self._pools: dict[str | None, urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close idle connections."""
        for pool in self._pools.values():
            pool.clear()

    def stat(self, url: str, head_bytes: int = HEAD_BYTES) -> RemoteStat:
        """Ask for the first bytes: that one answer tells size, validators, ranges, and error pages."""
        response = self._get(url, {"Range": f"bytes=0-{max(head_bytes, 1) - 1}"})
        try:
            ranges, size = response.status == 206, declared_size(response)
            head = b"" if response.status == 416 else read_head(response, max(head_bytes, HEAD_BYTES))
            stat = RemoteStat(
                url, size, response.headers.get("ETag"), epoch_of(response.headers.get("Last-Modified")), ranges, head
            )
        finally:
            discard(response)
        refuse_page(response, stat, head)
        return stat

    def read(self, stat: RemoteStat, start: int, end: int | None, stop: threading.Event) -> Iterator[bytes]:
        """See :class:`~cryorepro.workflow.fetch.remote.Transport`."""
        whole = not stat.ranges
        if whole and start > 0:
            raise NoRanges(f"{stat.url}: the server cannot send a part of the file")
        headers = {} if whole else {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
        if not whole and stat.etag and not stat.etag.startswith("W/"):
            headers["If-Range"] = stat.etag
        response = self._get(stat.url, headers)
        complete = begun = False
        try:
            if response.status == 200 and not whole:
                refuse_page(response, stat, read_head(response, HEAD_BYTES))
            left = check_answer(response, stat, start, end, whole)
            guard = StallGuard(self._settings)
            while left is None or left > 0:
                block = read_block(response, BLOCK_BYTES if left is None else min(BLOCK_BYTES, left), stat.url)
                if not block:
                    break
                if whole and not begun:
                    refuse_page(response, stat, block)
                begun = True
                guard.received(len(block), stat.url)
                left = None if left is None else left - len(block)
                yield block
                if stop.is_set():
                    return
            if left:
                raise Retry(f"{stat.url}: the connection ended {left} bytes early")
            complete = True
        finally:
            response.release_conn() if complete else discard(response)

    def body(self, url: str, most: int) -> bytes:
        """A short text, whole. Raises FetchError when it is longer than `most`."""
        response = self._get(url, {})
        guard, body = StallGuard(self._settings), b""
        try:
            while block := read_block(response, BLOCK_BYTES, url):
                guard.received(len(block), url)
                body += block
                if len(body) > most:
                    raise FetchError(f"{url}: the answer is longer than {most} bytes")
        finally:
            discard(response)
        return body

    def _get(self, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """One GET with redirects followed; status 200, 206 or 416 comes back, anything else is raised."""
        asked, place = url, url
        for _ in range(_MAXIMUM_REDIRECTS):
            response = self._send(place, headers)
            location = response.headers.get("Location")
            if response.status not in (301, 302, 303, 307, 308) or not location:
                break
            discard(response)
            target = urljoin(place, location)
            if urlsplit(target).scheme not in ("https", urlsplit(asked).scheme):
                raise FetchError(f"{asked}: the server redirects to {urlsplit(target).scheme}, which is not encrypted")
            place = target
        else:
            raise FetchError(f"{asked}: redirected more than {_MAXIMUM_REDIRECTS} times")
        if response.status in (200, 206, 416):
            return response
        discard(response)
        if response.status in _AGAIN:
            wait = retry_after_s(response.headers.get("Retry-After"))
            raise Retry(f"{asked}: the server answered {response.status}", wait)
        if response.status in (404, 410):
            raise NotFound(f"{asked}: the archive has no such file (status {response.status})")
        raise FetchError(f"{asked}: the server refused with status {response.status}")

    def _send(self, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        fields = {"User-Agent": f"cryorepro/{cryorepro.__version__}", "Accept-Encoding": "identity", **headers}
        try:
            return self._pool(url).request(
                "GET", url, headers=fields, preload_content=False, decode_content=False, redirect=False,
                retries=False, timeout=self._timeout,
            )  # fmt: skip
        except _UNREACHABLE as error:
            raise Retry(f"{urlsplit(url).netloc} cannot be reached ({reason(error)})", unreachable=True) from error
        except (HTTPError, OSError) as error:
            raise Retry(f"{url}: {reason(error)}") from error

    def _pool(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxy = None
        if not urllib.request.proxy_bypass(parts.hostname or ""):
            proxy = urllib.request.getproxies().get(parts.scheme)
        with self._lock:
            if proxy not in self._pools:
                size = self._settings.connections
                self._pools[proxy] = (
                    urllib3.ProxyManager(proxy, maxsize=size) if proxy else urllib3.PoolManager(maxsize=size)
                )
            return self._pools[proxy]
