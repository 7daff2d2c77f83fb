"""Fetch one file whole: into the cache, verified, at most once however many ask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryorepro.workflow.fetch.cache import Cache
from cryorepro.workflow.fetch.errors import ChangedRemote, NoRanges, WrongContent
from cryorepro.workflow.fetch.manifest import KnownFile, sha256_of
from cryorepro.workflow.fetch.pages import HEAD_BYTES, error_page
from cryorepro.workflow.fetch.partial import Partial, fill
from cryorepro.workflow.fetch.pieces import Copy, Piece, whole_file
from cryorepro.workflow.fetch.remote import RemoteStat, same_file
from cryorepro.workflow.fetch.transfer import Transfer

_TRIES = 3


def fetch_file(
    cache: Cache, transfer: Transfer, relative: str, urls: Sequence[str], known: KnownFile | None = None
) -> Path:
    """The cached file `relative`, fetched from the first of `urls` that answers if it is not there.

    Its size and sha256 are held against `known`, and against what was recorded when it was first fetched.

    Raises:
        FetchError: it cannot be had, or is not what it was; what was fetched so far is kept for the next time.
        StoreError: the cache cannot be written.
    """
    target = cache.path(relative)

    def waiting() -> None:
        transfer.notice(f"{relative}: another process is fetching it; waiting")

    with cache.lock(relative, waiting):
        present = cache.present(relative)
        if present is not None:
            _agree(relative, present.size_bytes, present.sha256, known, "published")
            transfer.meter.found(present.size_bytes)
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        transfer.meter.label(target.name)
        _fetch_until_stable(cache, transfer, relative, urls, known)
    return target


def _fetch_until_stable(
    cache: Cache, transfer: Transfer, relative: str, urls: Sequence[str], known: KnownFile | None
) -> None:
    partial = Partial(cache.path(relative))
    for attempt in range(1, _TRIES + 1):
        stat = transfer.stat_first(urls)
        _check_size(relative, stat, known)
        if attempt == 1 and _adopt(cache, transfer, relative, stat, known):
            return
        try:
            _fill_whole(partial, transfer, stat)
            _accept(cache, relative, partial, stat, known)
            return
        except ChangedRemote as error:
            partial.discard()
            if attempt == _TRIES:
                raise ChangedRemote(f"{error}; it did so {_TRIES} times") from error
            transfer.notice(f"{error}; starting over")


def _adopt(cache: Cache, transfer: Transfer, relative: str, stat: RemoteStat, known: KnownFile | None) -> bool:
    """Take over a file that another program put in place, such as Aspera, when it is as long as the archive's."""
    target, size = cache.path(relative), stat.size_bytes
    if cache.records().get(relative) is not None or not target.is_file() or target.stat().st_size != size:
        return False
    digest = sha256_of(target)
    _agree(relative, size, digest, known, "published")
    cache.record(relative, size, digest, f"{stat.url}, fetched by another program")
    transfer.notice(f"{relative}: was there already, and is as long as the archive's")
    transfer.meter.found(size)
    return True


def _fill_whole(partial: Partial, transfer: Transfer, stat: RemoteStat) -> None:
    def same(header: dict[str, Any]) -> bool:
        return stat.ranges and same_file(header.get("file", {"size_bytes": None}), stat.identity())

    header = {"file": stat.identity(), "url": stat.url}
    try:
        if stat.ranges and stat.size_bytes is not None:
            size = transfer.settings.piece_bytes
            fill(partial, transfer, header, same, stat.size_bytes, lambda done: whole_file(stat, done, size))
            return
    except NoRanges as error:
        transfer.notice(f"{error}; reading it whole, on one connection")
    partial.discard()
    plain = RemoteStat(stat.url, stat.size_bytes, stat.etag, stat.modified, False)
    end = stat.size_bytes
    copy = Copy(0, end if end is not None else 1 << 62, 0)
    fill(partial, transfer, header, same, end, lambda done: [Piece(plain, 0, end, (copy,))] if end != 0 else [])


def _accept(cache: Cache, relative: str, partial: Partial, stat: RemoteStat, known: KnownFile | None) -> None:
    """Check the complete bytes, record them, and move them into place, in this order."""
    with partial.data.open("rb") as stream:
        page = error_page(partial.target.name, stream.read(HEAD_BYTES), None)
    if page is not None:
        partial.discard()
        raise WrongContent(f"{stat.url}: the server sent {page} in place of the file")
    size, digest = partial.data.stat().st_size, sha256_of(partial.data)
    try:
        _agree(relative, size, digest, known, "published")
        before = cache.records().get(relative)
        if before is not None:
            recorded = KnownFile(path=relative, size_bytes=before.size_bytes, sha256=before.sha256)
            _agree(relative, size, digest, recorded, f"recorded on {before.fetched_at[:10]}")
    except WrongContent:
        partial.discard()
        raise
    if before is None:
        cache.record(relative, size, digest, stat.url)
    partial.finish()


def _check_size(relative: str, stat: RemoteStat, known: KnownFile | None) -> None:
    if known is not None and stat.size_bytes is not None and stat.size_bytes != known.size_bytes:
        raise WrongContent(f"{relative}: the server has {stat.size_bytes} bytes, not the {known.size_bytes} published")


def _agree(relative: str, size: int, digest: str, known: KnownFile | None, which: str) -> None:
    if known is None:
        return
    if size != known.size_bytes:
        raise WrongContent(f"{relative}: {size} bytes are not the {known.size_bytes} {which}")
    if known.sha256 is not None and digest != known.sha256:
        raise WrongContent(f"{relative}: sha256 {digest} is not the {known.sha256} {which}")
