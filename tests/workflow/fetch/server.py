"""A file server on the loopback that misbehaves on request, and counts what it sends."""

from __future__ import annotations

import hashlib
import html
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_RANGE = re.compile(r"bytes=(\d+)-(\d*)$")
_BLOCK = 64 << 10


@dataclass
class Conduct:
    """How the server behaves; each function is asked with the number of the request, from 1."""

    ranges: bool = True
    validators: bool = True
    status: Callable[[int], int] = lambda number: 200
    retry_after: str | None = None
    drop_after: Callable[[int], int | None] = lambda number: None
    page: Callable[[int], bytes | None] = lambda number: None
    page_type: str | None = None
    lie_about_length: int = 0
    wrong_range: bool = False
    ignore_if_range: bool = False
    rate: float | None = None
    drip: Callable[[int], bool] = lambda number: False
    redirect: Callable[[str], str | None] = lambda path: None
    etag: str | None = None
    chunked: bool = False
    encoding: str | None = None


@dataclass
class Tally:
    """What the server has done."""

    requests: int = 0
    sent: int = 0
    seen: list[tuple[str, str | None]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are what these tests are about."""


class Server:
    """Serves the files below `root`; `conduct` may be changed at any time."""

    def __init__(self, root: Path, conduct: Conduct | None = None) -> None:
        self.root, self.conduct, self.tally = root, conduct or Conduct(), Tally()
        self.stopping = threading.Event()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = _Quiet(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def start(self) -> Server:
        self._thread.start()
        return self

    def stop(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def serving(root: Path, conduct: Conduct | None = None) -> Iterator[Server]:
    server = Server(root, conduct).start()
    try:
        yield server
    finally:
        server.stop()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        tally, conduct = self.owner.tally, self.owner.conduct
        self.path = re.sub(r"^http://[^/]+", "", self.path)  # a proxy is asked for whole addresses
        with tally.lock:
            tally.requests += 1
            number = tally.requests
            tally.seen.append((self.path, self.headers.get("Range")))
        try:
            self._answer(number, conduct)
        except (TimeoutError, BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _answer(self, number: int, conduct: Conduct) -> None:
        target = conduct.redirect(self.path)
        status = conduct.status(number)
        if target is not None:
            return self._plain(302, b"", {"Location": target})
        if status != 200:
            extra = {"Retry-After": conduct.retry_after} if conduct.retry_after else {}
            return self._plain(status, b"busy", extra)
        page = conduct.page(number)
        if page is not None:
            return self._plain(200, page, {"Content-Type": conduct.page_type} if conduct.page_type else {})
        path = self.owner.root / self.path.lstrip("/")
        if (path / "index.json").is_file():
            path = path / "index.json"
        if path.is_dir():
            return self._index(path)
        if not path.is_file():
            return self._plain(404, b"not here", {})
        return self._file(path, number, conduct)

    def _index(self, path: Path) -> None:
        """A directory as Apache lists it, with its links for sorting and to the directory above."""
        rows = ['<a href="?C=N;O=D">Name</a>', '<a href="/">Parent Directory</a>']
        for entry in sorted(path.iterdir()):
            name = entry.name + ("/" if entry.is_dir() else "")
            rows.append(f'<a href="{html.escape(name)}">{html.escape(name)}</a>  2014-06-09 10:00  1.2M')
        self._plain(200, "<br>\n".join(rows).encode(), {"Content-Type": "text/html;charset=UTF-8"})

    def _plain(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        if self.owner.conduct.chunked and status == 200:
            self.send_response(status)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
            return
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _file(self, path: Path, number: int, conduct: Conduct) -> None:
        size = path.stat().st_size
        modified = path.stat().st_mtime
        tag = conduct.etag or f'"{size:x}-{path.stat().st_mtime_ns:x}"'
        match = _RANGE.match(self.headers.get("Range") or "") if conduct.ranges else None
        condition = self.headers.get("If-Range")
        if match and condition and condition != tag and not conduct.ignore_if_range:
            match = None
        start, end = 0, size
        if match:
            start, end = int(match[1]), min(int(match[2] or size - 1) + 1, size)
            if start >= size:
                return self._plain(416, b"", {"Content-Range": f"bytes */{size}"})
        self.send_response(206 if match else 200)
        if conduct.validators:
            self.send_header("ETag", tag)
            self.send_header("Last-Modified", formatdate(modified, usegmt=True))
        if match:
            shift = 1 if conduct.wrong_range and start > 0 else 0
            self.send_header("Content-Range", f"bytes {start + shift}-{end - 1}/{size + conduct.lie_about_length}")
            self.send_header("Content-Length", str(end - start))
        elif conduct.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(size + conduct.lie_about_length))
        if conduct.encoding is not None:
            self.send_header("Content-Encoding", conduct.encoding)
        self.end_headers()
        if conduct.chunked and not match:
            return self._chunks(path, conduct.drop_after(number))
        self._send(path, start, end, number, conduct)
        return None

    def _chunks(self, path: Path, most: int | None) -> None:
        sent = 0
        with path.open("rb") as stream:
            while block := stream.read(50_000):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
                sent += len(block)
                if most is not None and sent >= most:
                    self.close_connection = True
                    return
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, path: Path, start: int, end: int, number: int, conduct: Conduct) -> None:
        drop, sent = conduct.drop_after(number), 0
        with path.open("rb") as stream:
            stream.seek(start)
            left = end - start
            while left and not self.owner.stopping.is_set():
                step = 16 if conduct.drip(number) else _BLOCK if conduct.rate is None else int(conduct.rate / 20)
                block = stream.read(min(step, left, (drop - sent) if drop is not None else left))
                if not block:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                began = time.monotonic()
                self.wfile.write(block)
                sent, left = sent + len(block), left - len(block)
                with self.owner.tally.lock:
                    self.owner.tally.sent += len(block)
                if conduct.drip(number):
                    time.sleep(0.05)
                elif conduct.rate is not None:
                    time.sleep(max(0.0, len(block) / conduct.rate - (time.monotonic() - began)))
            if left or conduct.lie_about_length > 0:
                self.close_connection = True


def make_file(path: Path, size: int, seed: int = 0) -> str:
    """Write `size` bytes that no two blocks share; returns their sha256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with path.open("wb") as stream:
        for number in range((size + 31) // 32 * 32 // (1 << 20) + 1):
            block = hashlib.shake_128(f"{seed}/{number}".encode()).digest(1 << 20)
            block = block[: max(0, min(1 << 20, size - number * (1 << 20)))]
            stream.write(block)
            digest.update(block)
    return digest.hexdigest()
