"""HTTPS: one connection pool, ranges that are checked, redirects that do not leave TLS."""

from __future__ import annotations

import re
import ssl
import threading
import time
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
from cryorepro.workflow.fetch.errors import ChangedRemote, FetchError, NoRanges, NotFound, Retry, WrongContent
from cryorepro.workflow.fetch.pages import HEAD_BYTES, error_page
from cryorepro.workflow.fetch.remote import RemoteStat
from cryorepro.workflow.fetch.retry import epoch_of, retry_after_s
from cryorepro.workflow.fetch.settings import FetchSettings
from cryorepro.workflow.fetch.stall import StallGuard

_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_UNREACHABLE = (NewConnectionError, NameResolutionError, ConnectTimeoutError, ProxyError, ssl.SSLError, SSLError)
_CONTENT_RANGE = re.compile(r"^bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)$")
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
            ranges, size = response.status == 206, _declared_size(response)
            head = b"" if response.status == 416 else _read_head(response, max(head_bytes, HEAD_BYTES))
            stat = RemoteStat(
                url, size, response.headers.get("ETag"), epoch_of(response.headers.get("Last-Modified")), ranges, head
            )
        finally:
            _discard(response)
        _refuse_page(response, stat, head)
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
                _refuse_page(response, stat, _read_head(response, HEAD_BYTES))
            left = _check_answer(response, stat, start, end, whole)
            guard = StallGuard(self._settings)
            while left is None or left > 0:
                block = _read_block(response, BLOCK_BYTES if left is None else min(BLOCK_BYTES, left), stat.url)
                if not block:
                    break
                if whole and not begun:
                    _refuse_page(response, stat, block)
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
            response.release_conn() if complete else _discard(response)

    def body(self, url: str, most: int) -> bytes:
        """A short text, whole. Raises FetchError when it is longer than `most`."""
        response = self._get(url, {})
        guard, body = StallGuard(self._settings), b""
        try:
            while block := _read_block(response, BLOCK_BYTES, url):
                guard.received(len(block), url)
                body += block
                if len(body) > most:
                    raise FetchError(f"{url}: the answer is longer than {most} bytes")
        finally:
            _discard(response)
        return body

    def _get(self, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """One GET with redirects followed; status 200, 206 or 416 comes back, anything else is raised."""
        asked, place = url, url
        for _ in range(_MAXIMUM_REDIRECTS):
            response = self._send(place, headers)
            location = response.headers.get("Location")
            if response.status not in (301, 302, 303, 307, 308) or not location:
                break
            _discard(response)
            target = urljoin(place, location)
            if urlsplit(target).scheme not in ("https", urlsplit(asked).scheme):
                raise FetchError(f"{asked}: the server redirects to {urlsplit(target).scheme}, which is not encrypted")
            place = target
        else:
            raise FetchError(f"{asked}: redirected more than {_MAXIMUM_REDIRECTS} times")
        if response.status in (200, 206, 416):
            return response
        _discard(response)
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
            raise Retry(f"{urlsplit(url).netloc} cannot be reached ({_reason(error)})", unreachable=True) from error
        except (HTTPError, OSError) as error:
            raise Retry(f"{url}: {_reason(error)}") from error

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


def _check_answer(
    response: urllib3.BaseHTTPResponse, stat: RemoteStat, start: int, end: int | None, whole: bool
) -> int | None:
    """Hold an answer against the file seen before; how many bytes it is to bring, None if unknown."""
    url = stat.url
    encoding = response.headers.get("Content-Encoding", "identity")
    packed = encoding in ("gzip", "x-gzip") and stat.name.endswith((".gz", ".tgz"))  # the file's own packing
    if encoding not in ("identity", "") and not packed:
        raise WrongContent(f"{url}: the server sent the file encoded, though it was asked not to")
    etag, size = response.headers.get("ETag"), _declared_size(response)
    modified = epoch_of(response.headers.get("Last-Modified"))
    etag_differs = None not in (etag, stat.etag) and etag != stat.etag
    modified_differs = None not in (modified, stat.modified) and modified != stat.modified
    if etag_differs or modified_differs or (size is not None and size != stat.size_bytes) or response.status == 416:
        raise ChangedRemote(f"{url}: the file changed on the server while it was being read")
    if response.status == 200:
        if not whole:
            raise NoRanges(f"{url}: the server sent the whole file where a part was asked for")
        return size if end is None or size is None else min(end, size)
    match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    if match is None or match[1] is None or int(match[1]) != start:
        raise Retry(f"{url}: the server sent another range than the one asked for")
    last = int(match[2]) + 1
    return (last if end is None else min(last, end)) - start


def _refuse_page(response: urllib3.BaseHTTPResponse, stat: RemoteStat, head: bytes) -> None:
    """Raise Retry for an error page: such a page may pass, but it is never the file."""
    page = error_page(stat.name, head, response.headers.get("Content-Type"))
    if page is not None:
        sentence = f"{stat.url}: the server sent {page} with status {response.status} in place of the file"
        raise Retry(sentence, final=WrongContent)


def _declared_size(response: urllib3.BaseHTTPResponse) -> int | None:
    """The size of the whole file by this answer's headers; None where they do not say."""
    if response.status in (206, 416):
        match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        return int(match[3]) if match and match[3] != "*" else None
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdigit() and len(text) <= 18 else None


def _read_head(response: urllib3.BaseHTTPResponse, count: int) -> bytes:
    head, deadline = b"", time.monotonic() + 60.0
    while len(head) < count and time.monotonic() < deadline:
        block = _read_block(response, count - len(head), "the answer")
        if not block:
            break
        head += block
    return head


def _read_block(response: urllib3.BaseHTTPResponse, count: int, url: str) -> bytes:
    try:
        return bytes(response.read1(count, decode_content=False))
    except (HTTPError, OSError) as error:
        raise Retry(f"{url}: {_reason(error)}") from error


def _discard(response: urllib3.BaseHTTPResponse) -> None:
    """Close the connection: what is left of the body is of no use, and may be long."""
    response.close()
    response.release_conn()


def _reason(error: BaseException) -> str:
    """The innermost cause in words, without addresses of objects."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    text = getattr(error, "strerror", None) or str(error)
    return text.splitlines()[0][:120] if text else type(error).__name__
