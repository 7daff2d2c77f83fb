"""A seeded selection of a deposit's particles, read by ranges: a stack, its table, and the rows they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from cryorepro.em.errors import InputError
from cryorepro.em.formats.errata import Erratum
from cryorepro.em.formats.particles import Particles, read_particles, write_particles
from cryorepro.em.formats.references import split_reference
from cryorepro.em.formats.star import make_block, write_star
from cryorepro.em.streams import random_stream
from cryorepro.workflow.fetch.cache import SUBSETS, Cache
from cryorepro.workflow.fetch.errors import NotFound, WrongContent
from cryorepro.workflow.fetch.manifest import safe_path, sha256_of
from cryorepro.workflow.fetch.sources import Sources
from cryorepro.workflow.fetch.stacks import RemoteStack, fetch_images, open_stacks
from cryorepro.workflow.fetch.transfer import Transfer

STACK, TABLE, ORIGIN = "particles.mrcs", "particles.star", "origin_rows.star"


@dataclass(frozen=True)
class ParticleSelection:
    """Which particles: `count` of the table, drawn with `seed`.

    Attributes:
        star: The particle table, already in the cache.
        star_path: Its path in the deposit.
        errata: Defects of the table that are cured while reading.
        pixel_size_angstrom: For the stack's header; that of the table, unless given.
    """

    star: Path
    star_path: str
    count: int
    seed: int
    errata: tuple[Erratum, ...] = ()
    pixel_size_angstrom: float | None = None


def fetch_particles(cache: Cache, transfer: Transfer, sources: Sources, wanted: ParticleSelection) -> Path:
    """The folder with ``particles.star``, ``particles.mrcs`` and ``origin_rows.star``; made if it is not there.

    The rows are those a local copy of the deposit would give for the same seed.

    Raises:
        FetchError: the images cannot be had; what came is kept.
        InputError: the table or a stack is not what it should be, or has fewer particles than are asked for.
    """
    particles = read_particles(wanted.star, errata=wanted.errata)
    if not 1 <= wanted.count <= len(particles):
        raise InputError(f"{wanted.star_path}: {wanted.count} particles are asked for, and it holds {len(particles)}")
    folder = f"{SUBSETS}/particles-{wanted.count}-seed{wanted.seed}-{_key(wanted)}"
    names = [f"{folder}/{name}" for name in (STACK, TABLE, ORIGIN)]
    with cache.lock(folder, lambda: transfer.notice(f"{folder}: another process is reading it; waiting")):
        if all(cache.present(name) for name in names):
            return cache.path(folder)
        rows = np.sort(random_stream(wanted.seed, "subset").choice(len(particles), size=wanted.count, replace=False))
        _write(cache, transfer, sources, wanted, particles.subset(rows), rows, folder)
    return cache.path(folder)


def _key(wanted: ParticleSelection) -> str:
    applied = "".join(sorted(erratum.id for erratum in wanted.errata))
    parts = sha256_of(wanted.star), wanted.star_path, applied, wanted.pixel_size_angstrom
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]


def _write(
    cache: Cache,
    transfer: Transfer,
    sources: Sources,
    wanted: ParticleSelection,
    chosen: Particles,
    rows: np.ndarray,
    folder: str,
) -> None:
    directory = cache.path(folder)
    directory.mkdir(parents=True, exist_ok=True)
    references = [split_reference(name, chosen.source) for name in chosen.image_names]
    stack_names = list(dict.fromkeys(name for _, name in references))
    position = {name: i for i, name in enumerate(stack_names)}
    transfer.notice(f"reading the headers of {len(stack_names)} stacks")
    stacks = _locate(transfer, sources, wanted.star_path, stack_names)
    box_px = stacks[0].header.shape[2]
    transfer.meter.expect(len(references) * stacks[0].image_bytes)
    transfer.meter.label(STACK)
    images = [(position[name], section) for section, name in references]
    target = directory / STACK
    if not target.is_file():
        pixel = wanted.pixel_size_angstrom or chosen.pixel_size_angstrom
        fetch_images(transfer, target, stacks, images, pixel)
    names = np.array([f"{i + 1:06d}@{STACK}" for i in range(len(images))], dtype=object)
    write_particles(directory / TABLE, chosen.with_box(box_px).with_columns(rlnImageName=names))
    columns: dict[str, Any] = {"cryoreproDepositRow": rows + 1, "rlnImageOriginalName": chosen.image_names}
    write_star(directory / ORIGIN, [make_block("origin", columns)])
    for name in (TABLE, ORIGIN, STACK):
        _record(cache, f"{folder}/{name}", f"{wanted.count} rows of {wanted.star_path}, seed {wanted.seed}")


def _record(cache: Cache, relative: str, source: str) -> None:
    """Record a file that was made; made again, it must have the same bytes."""
    path = cache.path(relative)
    size, digest = path.stat().st_size, sha256_of(path)
    before = cache.records().get(relative)
    if before is None:
        cache.record(relative, size, digest, source)
    elif (before.size_bytes, before.sha256) != (size, digest):
        path.unlink()
        raise WrongContent(
            f"{relative}: sha256 {digest} is not the {before.sha256} recorded on {before.fetched_at[:10]}: "
            "the archive's stacks have changed since"
        )


def _locate(transfer: Transfer, sources: Sources, star_path: str, names: Sequence[str]) -> list[RemoteStack]:
    """Open the stacks. Names are relative to a RELION project that holds the table at some depth."""
    parents = [str(parent) for parent in PurePosixPath(star_path).parents]
    problems = []
    for base in parents:
        paths = [safe_path(name if base == "." else f"{base}/{name}") for name in names]
        try:
            first = open_stacks(transfer, [sources.urls(paths[0])])
        except NotFound as error:
            problems.append(error)
            continue
        return first + open_stacks(transfer, [sources.urls(path) for path in paths[1:]])
    sentence = f"{star_path}: its stack {names[0]} is in none of the {len(parents)} folders above it"
    raise NotFound(sentence) from problems[0]
