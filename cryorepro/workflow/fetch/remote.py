"""A file somewhere else: what is known of it, and how its bytes are asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class RemoteStat:
    """What a server says of a file.

    Attributes:
        url: The address it was asked at.
        size_bytes: None when the server does not say.
        etag: Strong or weak entity tag, as sent.
        modified: Seconds since 1970.
        ranges: Whether parts can be read.
        head: The first bytes.
    """

    url: str
    size_bytes: int | None
    etag: str | None
    modified: int | None
    ranges: bool
    head: bytes = b""

    @property
    def name(self) -> str:
        """The last part of the address."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).name

    def identity(self) -> dict[str, str | int | None]:
        """What must stay the same for bytes read earlier to belong to this file."""
        return {"size_bytes": self.size_bytes, "etag": self.etag, "modified": self.modified}


def same_file(first: dict[str, str | int | None], second: dict[str, str | int | None]) -> bool:
    """Whether two looks saw the same file. Sizes must agree, and the best validator that both have.

    A file without any validator is never taken for the same: its beginning would be joined to another's end.
    """
    if first["size_bytes"] is None or first["size_bytes"] != second["size_bytes"]:
        return False
    for validator in ("etag", "modified"):
        if first[validator] is not None and second[validator] is not None:
            return first[validator] == second[validator]
    return False


class Transport(Protocol):
    """Reads bytes at an address."""

    def stat(self, url: str, head_bytes: int) -> RemoteStat:
        """Look at a file: one try. Raises Retry or FetchError."""
        ...

    def read(self, stat: RemoteStat, start: int, end: int | None, stop: threading.Event) -> Iterator[bytes]:
        """Bytes [start, end) of the file seen as `stat`, to its end without `end`: one try.

        Raises:
            Retry: it broke off in a way that may pass.
            ChangedRemote: it is not the file of `stat` any more.
            NoRanges: only the whole can be had.
            FetchError: it cannot be had at all.
        """
        ...
