"""Chosen images of remote stacks: headers by range, then coalesced ranges of the images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.formats.mrc import HEADER_BYTES, MrcHeader, parse_mrc_header
from cryorepro.em.formats.stack_writer import stack_header, write_stack_chunks
from cryorepro.workflow.fetch.errors import NoRanges
from cryorepro.workflow.fetch.parallel import each
from cryorepro.workflow.fetch.partial import Partial, fill
from cryorepro.workflow.fetch.pieces import Copy, Piece, selected
from cryorepro.workflow.fetch.ranges import Range
from cryorepro.workflow.fetch.remote import RemoteStat
from cryorepro.workflow.fetch.transfer import Transfer

_CHUNK = 64  # images whose statistics are summed at once; as the local subset writes them
_RAW = np.dtype("<f4")


@dataclass(frozen=True)
class RemoteStack:
    """A stack whose header was read."""

    stat: RemoteStat
    header: MrcHeader

    @property
    def image_bytes(self) -> int:
        """Bytes of one image."""
        return self.header.shape[1] * self.header.shape[2] * self.header.dtype.itemsize

    def image(self, section: int) -> Range:
        """Bytes of one image of the remote file; sections count from 0."""
        start = self.header.data_offset + section * self.image_bytes
        return start, start + self.image_bytes


def open_stacks(transfer: Transfer, urls: Sequence[Sequence[str]]) -> list[RemoteStack]:
    """Read the headers of several stacks at once; each is given by the addresses it may be had from.

    Raises:
        FetchError: one cannot be had, or its server sends whole files only.
        InputError: one is not an MRC stack of square images.
    """

    def look(places: Sequence[str]) -> RemoteStack:
        stat = transfer.stat_first(places, HEADER_BYTES)
        if not stat.ranges or stat.size_bytes is None:
            raise NoRanges(f"{stat.url}: this server sends whole files only, so no selection can be read from it")
        header = parse_mrc_header(Path(stat.name), stat.head, stat.size_bytes)
        if header.shape[1] != header.shape[2]:
            raise InputError(f"{stat.url}: images of {header.shape[2]} x {header.shape[1]} pixels are not square")
        return RemoteStack(stat, header)

    return each(look, urls, transfer.settings.connections)


def fetch_images(
    transfer: Transfer,
    target: Path,
    stacks: Sequence[RemoteStack],
    chosen: Sequence[tuple[int, int]],
    pixel_size_angstrom: float,
) -> None:
    """Write chosen images as one float32 stack at `target`, in their order; resumes what was interrupted.

    Args:
        transfer: Connections, limits and meter.
        target: The stack to write.
        stacks: The remote stacks.
        chosen: For each image its stack's position in `stacks` and its section, from 0.
        pixel_size_angstrom: For the header.

    Raises:
        FetchError: the images cannot be had, or a stack changed meanwhile.
        InputError: the stacks differ in box or type, one is too short, or a pixel is NaN or infinite.
    """
    box_px, dtype = _common(stacks)
    size = HEADER_BYTES + len(chosen) * stacks[0].image_bytes
    for stack, section in chosen:
        if not 0 <= section < stacks[stack].header.shape[0]:
            held = stacks[stack].header.shape[0]
            raise InputError(f"{stacks[stack].stat.url}: holds {held} images, but image {section + 1} is asked for")
    header = {"selection": _fingerprint(stacks, chosen)}

    def same(found: dict[str, Any]) -> bool:
        return found == header

    partial = Partial(target)
    fill(partial, transfer, header, same, size, lambda done: _pieces(stacks, chosen, done, transfer))
    _finish(partial, len(chosen), box_px, dtype, pixel_size_angstrom)


def _pieces(
    stacks: Sequence[RemoteStack], chosen: Sequence[tuple[int, int]], done: Sequence[Range], transfer: Transfer
) -> list[Piece]:
    copies: dict[int, list[Copy]] = {}
    for i, (stack, section) in enumerate(chosen):
        start, end = stacks[stack].image(section)
        copies.setdefault(stack, []).append(Copy(start, end, HEADER_BYTES + i * (end - start)))
    size = transfer.settings.piece_bytes
    return [piece for stack in copies for piece in selected(stacks[stack].stat, copies[stack], done, size)]


def _common(stacks: Sequence[RemoteStack]) -> tuple[int, np.dtype[np.generic]]:
    first = stacks[0].header
    for stack in stacks:
        if stack.header.shape[1:] != first.shape[1:] or stack.header.dtype != first.dtype:
            raise InputError(f"{stack.stat.url}: its images differ in box or type from those of {stacks[0].stat.url}")
    return first.shape[2], first.dtype


def _fingerprint(stacks: Sequence[RemoteStack], chosen: Sequence[tuple[int, int]]) -> str:
    """What decides the bytes of the selection: the files as they are now, and the images."""
    parts = [[stack.stat.name, stack.stat.identity()] for stack in stacks], list(chosen)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _finish(partial: Partial, count: int, box_px: int, dtype: np.dtype[np.generic], pixel_size_angstrom: float) -> None:
    """Give the raw images their header. Little-endian float32 stays where it is, so no second copy needs room."""
    raw = np.memmap(partial.data, dtype=dtype, mode="r", offset=HEADER_BYTES, shape=(count, box_px, box_px))

    def chunks() -> Any:
        for start in range(0, count, _CHUNK):
            yield _finite(np.asarray(raw[start : start + _CHUNK], dtype=np.float32), start, partial)

    if dtype != _RAW:
        write_stack_chunks(partial.target, chunks(), count, box_px, pixel_size_angstrom)
        partial.discard()
        return
    head = stack_header(chunks(), count, box_px, pixel_size_angstrom)
    with partial.data.open("r+b") as stream:
        stream.write(head)
    partial.finish()


def _finite(images: NDArray[np.float32], start: int, partial: Partial) -> NDArray[np.float32]:
    sums = images.sum(axis=(1, 2), dtype=np.float64)
    if not np.isfinite(sums).all():
        bad = start + int(np.argmin(np.isfinite(sums)))
        partial.discard()
        raise InputError(f"{partial.target}: image {bad + 1} of the selection has NaN or infinite pixels")
    return images
