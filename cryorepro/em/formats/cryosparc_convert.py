"""A CryoSPARC table as a RELION STAR file or the other way, by the files' suffixes and what is in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryorepro.em.errors import InputError
from cryorepro.em.formats.cryosparc import CsTable, join, read_cs, write_cs
from cryorepro.em.formats.cryosparc_back import left_behind_by_star, particles_to_cs, uids_of
from cryorepro.em.formats.cryosparc_micrographs import (
    ASSUMED_AMPLITUDE_CONTRAST,
    MICROGRAPHS,
    MOVIES,
    Columns,
    Exposures,
    exposure_blocks,
    exposures_to_cs,
    pick_blocks,
    picks_to_cs,
)
from cryorepro.em.formats.cryosparc_particles import UID_LABEL, cs_particles, left_behind
from cryorepro.em.formats.cryosparc_stacks import link_stacks_as, stack_names
from cryorepro.em.formats.particles import read_particles, write_particles
from cryorepro.em.formats.star import StarBlock, read_star, write_star

CS, STAR = ".cs", ".star"
MAX_FILES = 16


@dataclass(frozen=True)
class Converted:
    """What was written: ``particles``, ``micrographs``, ``movies`` or ``picks``, how many, and what to know."""

    kind: str
    rows: int
    notes: tuple[str, ...] = ()


def convert(sources: Sequence[Path], target: Path, like: Path | None = None, stacks: Path | None = None) -> Converted:
    """Convert ``.cs`` (with passthrough files after it) to ``.star``, or ``.star`` to ``.cs``.

    Args:
        sources: What to read.
        target: What to write; its suffix says which way.
        like: For ``.star`` to ``.cs``: the table it came from, for what RELION does not express.
        stacks: For particles to ``.star``: the folder the images' names are relative to. Links with the suffix
            ``.mrcs``, which RELION needs, are made beside the target.

    Raises:
        InputError: suffixes do not go together, or a file is not what it should be.
    """
    suffixes = {source.suffix for source in sources}
    if not sources or len(sources) > MAX_FILES:
        raise InputError(f"{target}: one to {MAX_FILES} files are converted at a time, not {len(sources)}.")
    if target.exists():
        raise InputError(f"{target}: exists already.")
    if suffixes == {CS} and target.suffix == STAR:
        if like is not None:
            raise InputError(f"{like}: an original table is for the way back, from .star to .cs.")
        return _to_star(join([read_cs(source) for source in sources]), target, stacks)
    if stacks is not None:
        raise InputError(f"{stacks}: a folder of stacks is for the way from .cs to .star.")
    if suffixes == {STAR} and target.suffix == CS and len(sources) == 1:
        return _to_cs(sources[0], target, None if like is None else read_cs(like))
    raise InputError(f"{target}: .cs files become one .star, or one .star becomes a .cs; these suffixes do neither.")


def kind_of(table: CsTable) -> str:
    """``particles``, ``picks``, ``micrographs`` or ``movies``.

    Raises:
        InputError: it is none of them.
    """
    if "blob/path" in table and "ctf/df1_A" in table:
        return "particles"
    if "location/center_x_frac" in table:
        return "picks"
    if "micrograph_blob/path" in table:
        return MICROGRAPHS.block
    if "movie_blob/path" in table:
        return MOVIES.block
    raise InputError(
        f"{table.source}: neither particles (blob/path and ctf/df1_A), micrographs, movies nor picks; "
        "a passthrough file may hold what is missing."
    )


def _to_star(table: CsTable, target: Path, stacks: Path | None) -> Converted:
    kind = kind_of(table)
    if not len(table):
        raise InputError(f"{table.source}: holds no {kind}.")
    if kind == "particles":
        particles = cs_particles(table)
        if stacks is not None:
            particles, truth = stack_names(particles)
            link_stacks_as(truth, stacks, target.absolute().parent)
        write_particles(target, particles)
        return Converted(kind, len(table), tuple(left_behind(table)))
    notes = []
    if kind == "picks":
        blocks = pick_blocks(table)
    else:
        blocks = exposure_blocks(table, MICROGRAPHS if kind == MICROGRAPHS.block else MOVIES)
        if "ctf/amp_contrast" not in table:
            notes.append(f"the table has no amplitude contrast; {ASSUMED_AMPLITUDE_CONTRAST} was written")
    write_star(target, blocks)
    return Converted(kind, len(table), tuple(notes))


def _to_cs(source: Path, target: Path, like: CsTable | None) -> Converted:
    blocks = read_star(source)
    if any("rlnImageName" in block.columns for block in blocks.values()):
        particles = read_particles(source, require_ctf=False)
        write_cs(target, particles_to_cs(particles, like))
        return Converted("particles", len(particles), tuple(left_behind_by_star(particles, like)))
    if like is not None:
        raise InputError(f"{like.source}: an original table serves particles only.")
    kind, columns = _other_columns(blocks, source)
    write_cs(target, columns)
    return Converted(kind, len(columns["uid"]))


def _other_columns(blocks: Mapping[str, StarBlock], source: Path) -> tuple[str, Columns]:
    kinds: dict[str, Exposures] = {kind.block: kind for kind in (MICROGRAPHS, MOVIES)}
    for name, kind in kinds.items():
        if name in blocks:
            rows = blocks[name]
            uids = uids_of(rows.columns.get(UID_LABEL), rows.text(kind.name_label), str(source))
            return name, exposures_to_cs(blocks, kind, uids)
    for rows in blocks.values():
        if "rlnCoordinateX" in rows.columns and "rlnMicrographName" in rows.columns:
            places = zip(
                rows.text("rlnMicrographName"), rows.text("rlnCoordinateX"), rows.text("rlnCoordinateY"), strict=True
            )
            names = ["@".join(place) for place in places]
            return "picks", picks_to_cs(rows, uids_of(rows.columns.get(UID_LABEL), names, str(source)))
    raise InputError(f"{source}: holds no particles, micrographs, movies or picks.")
