"""Image references of the form `000001@stack.mrcs`, resolved to files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.formats.mrc import read_mrc_header
from cryorepro.em.formats.particles import Particles
from cryorepro.em.formats.star import read_star


@dataclass(frozen=True)
class ImageTable:
    """Which slice of which file each of n images is.

    Attributes:
        paths: The stacks, in order of first use.
        path_index: int64 [n], position in `paths`.
        slice_index: int64 [n], 0-based section of the stack.
        source: The table it came from, for messages.
    """

    paths: tuple[Path, ...]
    path_index: NDArray[np.int64]
    slice_index: NDArray[np.int64]
    source: str

    def name(self, index: int) -> str:
        """`slice@path` of one image, 1-based as in STAR files."""
        return f"{int(self.slice_index[index]) + 1:06d}@{self.paths[int(self.path_index[index])]}"


def split_reference(reference: str, source: str) -> tuple[int, str]:
    """Split `000001@stack.mrcs` into the 0-based slice and the stack's name; a bare name is slice 0.

    Raises:
        InputError: The number before @ is not a positive whole number, or the name is empty.
    """
    number, at, name = reference.partition("@")
    if not at:
        number, name = "1", reference
    if not (number.isascii() and number.isdigit()) or int(number) < 1 or not name:
        raise InputError(f"{source}: rlnImageName {reference[:80]!r} is not of the form 000001@stack.mrcs.")
    return int(number) - 1, name


def reference_names(path: Path) -> list[tuple[int, str]]:
    """Slice (from 0) and stack of every reference image of a stack or of a STAR file with rlnReferenceImage.

    Raises:
        InputError: the file is missing, or not a list of references.
    """
    if path.suffix != ".star":
        return [(number, path.name) for number in range(read_mrc_header(path).shape[0])]
    blocks = [block for block in read_star(path).values() if "rlnReferenceImage" in block.columns]
    if not blocks:
        raise InputError(f"{path}: column rlnReferenceImage is missing; this is not a list of references.")
    return [split_reference(name, str(path)) for name in blocks[0].text("rlnReferenceImage")]


def resolve_images(particles: Particles, root: Path | None = None, allowed_root: Path | None = None) -> ImageTable:
    """Find the stack of every particle.

    RELION's names are relative to its project, which holds the STAR file at some depth: without `root`, the
    STAR file's directory and then its parents are tried, nearest first.

    Args:
        particles: The table; `Particles.source` is the STAR file.
        root: The directory the names are relative to.
        allowed_root: If given, no stack may lie outside it (for tables from others).

    Raises:
        InputError: A stack is missing (the sentence names STAR and stack) or lies outside `allowed_root`.
    """
    pairs = [split_reference(reference, particles.source) for reference in particles.image_names]
    names = list(dict.fromkeys(name for _, name in pairs))
    position = {name: i for i, name in enumerate(names)}
    bases = [root] if root is not None else _bases(Path(particles.source))
    paths = tuple(_find(name, bases, allowed_root, particles.source) for name in names)
    return ImageTable(
        paths,
        np.array([position[name] for _, name in pairs], dtype=np.int64),
        np.array([slice_index for slice_index, _ in pairs], dtype=np.int64),
        particles.source,
    )


def _bases(star: Path) -> list[Path]:
    directory = star.absolute().parent
    return [directory, *directory.parents[:4]]


def _find(name: str, bases: list[Path], allowed_root: Path | None, source: str) -> Path:
    # An absolute name replaces the base, as in RELION.
    found = next((base / name for base in bases if (base / name).is_file()), None)
    if found is None:
        raise InputError(f"{source}: the stack {name} does not exist (looked in {bases[0]} and above it).")
    if allowed_root is not None and not found.resolve().is_relative_to(allowed_root.resolve()):
        raise InputError(f"{source}: the stack {name} lies outside {allowed_root}.")
    return found
