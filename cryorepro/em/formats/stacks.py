"""Particle image stacks, memory-mapped: nothing is mapped before its header and file size were checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.formats.mrc import MrcHeader, read_mrc_header
from cryorepro.em.formats.particles import Particles
from cryorepro.em.formats.references import ImageTable, resolve_images


class ParticleStack:
    """The images of a particle table, read in any order from any number of MRC stacks.

    Attributes:
        images: Which slice of which file each particle is.
        box_px: Side of the square images.
    """

    def __init__(self, images: ImageTable) -> None:
        """Check every stack's header, size and slice range; map nothing yet.

        Raises:
            InputError: A stack is missing, truncated, not square, of another box, or too short for a slice.
        """
        self.images = images
        self._headers = [read_mrc_header(path) for path in images.paths]
        self._maps: dict[int, NDArray[Any]] = {}
        self.box_px = _common_box(self._headers)
        for i, header in enumerate(self._headers):
            highest = int(images.slice_index[images.path_index == i].max(initial=-1))
            if highest >= header.shape[0]:
                raise InputError(
                    f"{images.source}: rlnImageName asks for image {highest + 1} of {header.path}, "
                    f"which holds {header.shape[0]}."
                )

    @classmethod
    def open(cls, particles: Particles, root: Path | None = None, allowed_root: Path | None = None) -> ParticleStack:
        """Resolve the image names of `particles` and open their stacks."""
        stack = cls(resolve_images(particles, root=root, allowed_root=allowed_root))
        for group in particles.optics:
            if group.box_px is not None and group.box_px != stack.box_px:
                raise InputError(
                    f"{particles.source}: rlnImageSize is {group.box_px} but the images are {stack.box_px} pixels wide."
                )
        return stack

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images.slice_index)

    def read(self, indices: ArrayLike | None = None) -> NDArray[np.float32]:
        """Images as float32 [len(indices), box, box] in the order asked for; all of them by default.

        Raises:
            InputError: A pixel is NaN or infinite; the sentence names the image.
        """
        chosen = np.arange(len(self)) if indices is None else np.asarray(indices, dtype=np.int64).reshape(-1)
        out = np.empty((len(chosen), self.box_px, self.box_px), dtype=np.float32)
        files = self.images.path_index[chosen]
        for file in np.unique(files):
            where = np.flatnonzero(files == file)
            slices = self.images.slice_index[chosen[where]]
            order = np.argsort(slices, kind="stable")  # ascending slices: one pass over the file
            out[where[order]] = self._map(int(file))[slices[order]]
        # A float64 sum of float32 pixels cannot overflow: it is finite exactly when every pixel is.
        sums = out.sum(axis=(1, 2), dtype=np.float64)
        if not np.isfinite(sums).all():
            bad = int(np.argmin(np.isfinite(sums)))
            raise InputError(f"{self.images.name(int(chosen[bad]))}: the image has NaN or infinite pixels.")
        return out

    def _map(self, file: int) -> NDArray[Any]:
        if file not in self._maps:
            header = self._headers[file]
            self._maps[file] = np.memmap(
                header.path, dtype=header.dtype, mode="r", offset=header.data_offset, shape=header.shape
            )
        return self._maps[file]


def _common_box(headers: list[MrcHeader]) -> int:
    first = headers[0]
    for header in headers:
        _, ny, nx = header.shape
        if nx != ny:
            raise InputError(f"{header.path}: images of {nx} x {ny} pixels are not square.")
        if nx != first.shape[2]:
            raise InputError(f"{header.path}: box {nx} differs from box {first.shape[2]} of {first.path}.")
    return first.shape[2]
