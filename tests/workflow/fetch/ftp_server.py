"""A small FTP server on the loopback: one session per thread, passive transfers, restarts."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path


class _Session(socketserver.StreamRequestHandler):
    root: Path
    drop_after: list[int]

    def handle(self) -> None:
        self.rest, self.listener = 0, None
        self.say("220 ready")
        while line := self.rfile.readline().decode().strip():
            word, _, argument = line.partition(" ")
            answer = getattr(self, f"on_{word.lower()}", lambda argument: "502 not known")(argument)
            if answer:
                self.say(answer)
            if word == "QUIT":
                return

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())

    def on_user(self, argument: str) -> str:
        return "331 any password" if argument == "anonymous" else "530 no"

    def on_pass(self, argument: str) -> str:
        return "230 welcome"

    def on_type(self, argument: str) -> str:
        return "200 fine"

    def on_quit(self, argument: str) -> str:
        return "221 bye"

    def on_size(self, argument: str) -> str:
        path = self.place(argument)
        return f"213 {path.stat().st_size}" if path.is_file() else "550 no such file"

    def on_mdtm(self, argument: str) -> str:
        path = self.place(argument)
        return f"213 {datetime.fromtimestamp(path.stat().st_mtime, UTC):%Y%m%d%H%M%S}"

    def on_rest(self, argument: str) -> str:
        self.rest = int(argument)
        return "350 go on"

    def on_pasv(self, argument: str) -> str:
        self.listener = socket.create_server(("127.0.0.1", 0))
        port = self.listener.getsockname()[1]
        return f"227 passive (127,0,0,1,{port // 256},{port % 256})"

    def on_retr(self, argument: str) -> str:
        path = self.place(argument)
        if not path.is_file():
            return "550 no such file"
        self.say("150 here it comes")
        assert self.listener is not None
        connection, _ = self.listener.accept()
        most = self.drop_after.pop() if self.drop_after else None
        with connection, path.open("rb") as stream:
            stream.seek(self.rest)
            body = stream.read() if most is None else stream.read(most)
            try:
                connection.sendall(body)
            except OSError:
                return "426 you left"
        self.listener.close()
        self.rest = 0
        return "226 done"

    def place(self, argument: str) -> Path:
        return self.root / argument.lstrip("/")


@contextmanager
def serving_ftp(root: Path, drop_after: list[int] | None = None) -> Iterator[str]:
    """Serve the files below `root`; the first transfers end after so many bytes. Yields ``ftp://127.0.0.1:PORT/``."""
    handler = type("Session", (_Session,), {"root": root, "drop_after": drop_after or []})
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"ftp://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
