"""How hard to try, how fast, and where from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from cryorepro.em.errors import InputError

MIRROR_VARIABLE = "CRYOREPRO_MIRROR"
_SCHEMES = ("https://", "ftp://", "http://")


@dataclass(frozen=True, slots=True)
class FetchSettings:
    """Times in seconds, sizes in bytes, rates in bytes per second.

    Attributes:
        connections: Ranges read at once; the EMPIAR server gives each connection about 1.5 MB/s.
        rate_limit: Of all connections together; None for none.
        attempts: Tries in a row that bring nothing before a range is given up.
        stall_s, stall_bytes: A connection that brings fewer than `stall_bytes` in `stall_s` is dropped.
        reserve_bytes: Room on the disk that is left alone.
        commit_s: What came is made durable at least this often.
        mirrors: Prefixes of addresses and what replaces them.
    """

    connections: int = 8
    piece_bytes: int = 8 << 20
    rate_limit: float | None = None
    attempts: int = 6
    unreachable_attempts: int = 3
    backoff_base_s: float = 0.5
    backoff_cap_s: float = 30.0
    connect_timeout_s: float = 20.0
    read_timeout_s: float = 60.0
    stall_s: float = 30.0
    stall_bytes: int = 32 << 10
    reserve_bytes: int = 64 << 20
    commit_s: float = 1.0
    mirrors: tuple[tuple[str, str], ...] = ()

    def mirrored(self, url: str) -> str:
        """`url`, or its copy on a mirror the person named."""
        for prefix, replacement in self.mirrors:
            if url.startswith(prefix):
                return replacement + url[len(prefix) :]
        return url


def mirrors_of(environment: Mapping[str, str] | None = None) -> tuple[tuple[str, str], ...]:
    """Read ``CRYOREPRO_MIRROR``: ``PREFIX=REPLACEMENT`` pairs, separated by spaces.

    Raises:
        InputError: a pair is not two addresses.
    """
    text = (os.environ if environment is None else environment).get(MIRROR_VARIABLE, "")
    pairs = []
    for word in text.split():
        prefix, equals, replacement = word.partition("=")
        if not equals or not prefix.startswith(_SCHEMES) or not replacement.startswith(_SCHEMES):
            raise InputError(f"{MIRROR_VARIABLE}: {word!r} is not of the form https://HOST/PATH/=https://MIRROR/PATH/")
        pairs.append((prefix, replacement))
    return tuple(pairs)
