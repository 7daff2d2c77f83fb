"""Answers of an HTTP server, held against what was asked and what was seen before."""

from __future__ import annotations

import re
import time

import urllib3
from urllib3.exceptions import HTTPError

from cryorepro.workflow.fetch.errors import ChangedRemote, NoRanges, Retry, WrongContent
from cryorepro.workflow.fetch.pages import error_page
from cryorepro.workflow.fetch.remote import RemoteStat
from cryorepro.workflow.fetch.retry import epoch_of

_CONTENT_RANGE = re.compile(r"^bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)$")
_HEAD_S = 60.0


def check_answer(
    response: urllib3.BaseHTTPResponse, stat: RemoteStat, start: int, end: int | None, whole: bool
) -> int | None:
    """Hold an answer against the file seen before; how many bytes it is to bring, None if unknown.

    Raises:
        ChangedRemote: size, validator or date differ.
        NoRanges: the whole came where a part was asked for.
        Retry: another range came.
        WrongContent: the body is encoded.
    """
    url = stat.url
    encoding = response.headers.get("Content-Encoding", "identity")
    packed = encoding in ("gzip", "x-gzip") and stat.name.endswith((".gz", ".tgz"))  # the file's own packing
    if encoding not in ("identity", "") and not packed:
        raise WrongContent(f"{url}: the server sent the file encoded, though it was asked not to")
    etag, size = response.headers.get("ETag"), declared_size(response)
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


def refuse_page(response: urllib3.BaseHTTPResponse, stat: RemoteStat, head: bytes) -> None:
    """Raise Retry for an error page: such a page may pass, but it is never the file."""
    page = error_page(stat.name, head, response.headers.get("Content-Type"))
    if page is not None:
        sentence = f"{stat.url}: the server sent {page} with status {response.status} in place of the file"
        raise Retry(sentence, final=WrongContent)


def declared_size(response: urllib3.BaseHTTPResponse) -> int | None:
    """The size of the whole file by this answer's headers; None where they do not say."""
    if response.status in (206, 416):
        match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        return int(match[3]) if match and match[3] != "*" else None
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdigit() and len(text) <= 18 else None


def read_head(response: urllib3.BaseHTTPResponse, count: int) -> bytes:
    """The first bytes of a body, as many as come in a minute. Raises Retry when the connection breaks."""
    head, deadline = b"", time.monotonic() + _HEAD_S
    while len(head) < count and time.monotonic() < deadline:
        block = read_block(response, count - len(head), "the answer")
        if not block:
            break
        head += block
    return head


def read_block(response: urllib3.BaseHTTPResponse, count: int, url: str) -> bytes:
    """At most `count` bytes, as soon as there are any; none at the end. Raises Retry when the connection breaks."""
    try:
        return bytes(response.read1(count, decode_content=False))
    except (HTTPError, OSError) as error:
        raise Retry(f"{url}: {reason(error)}") from error


def discard(response: urllib3.BaseHTTPResponse) -> None:
    """Close the connection: what is left of the body is of no use, and may be long."""
    response.close()
    response.release_conn()


def reason(error: BaseException) -> str:
    """The innermost cause in words, without addresses of objects."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    text = getattr(error, "strerror", None) or str(error)
    return text.splitlines()[0][:120] if text else type(error).__name__
