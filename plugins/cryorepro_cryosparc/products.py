"""Outputs of a job as files of the field: tables as STAR beside their ``.cs``, maps and class averages downloaded."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from cryosparc.controllers.job import JobController

from cryorepro.em.errors import InputError
from cryorepro.em.formats.cryosparc import CsTable, write_cs
from cryorepro.em.formats.cryosparc_micrographs import MICROGRAPHS, exposure_blocks
from cryorepro.em.formats.cryosparc_particles import cs_particles, left_behind, place_columns
from cryorepro.em.formats.cryosparc_stacks import link_stacks_as, stack_names
from cryorepro.em.formats.maps import write_stack
from cryorepro.em.formats.mrc import read_mrc_header
from cryorepro.em.formats.particles import write_particles
from cryorepro.em.formats.star import write_star
from cryorepro.em.picking.picks import Picks
from cryorepro.em.picking.tables import AUTOPICK, write_picks
from cryorepro_cryosparc.master import Master
from cryorepro_cryosparc.recipes import Product

FILES = {"micrographs": "micrographs.star", "particles": "particles.star", "picks": AUTOPICK, "classes": "classes.mrcs"}
_HALVES = {"half1": "map_half_A/path", "half2": "map_half_B/path", "mask": "mask_refine/path"}


class Collected:
    """What a stage has written: files by role (relative to its folder), rows, and notes."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.rows: dict[str, int] = {}
        self.notes: list[str] = []


def collect(master: Master, job: JobController, product: Product, directory: Path, into: Collected) -> None:
    """Fetch one output.

    Raises:
        InputError: the output is empty or is not what its kind should be.
        MasterError: the master refuses.
    """
    table = load(master, job, product.output)
    if not len(table):
        raise InputError(f"{job.uid}: its output {product.output} is empty")
    if product.shape in ("map", "maps"):
        _maps(master, table, product, directory, into)
        return
    if product.shape == "classes":
        _classes(master, table, product, directory, into)
        return
    write_cs(directory / f"{product.role}.cs", table.columns)
    into.files[f"{product.role}_cs"] = f"{product.role}.cs"
    name = FILES[product.shape]
    if product.shape == "micrographs":
        write_star(directory / name, exposure_blocks(table, MICROGRAPHS))
    elif product.shape == "particles":
        _particles(master, table, directory / name, into)
    else:
        _picks(table, directory)
    into.files[product.role], into.rows[product.role] = name, len(table)
    if product.shape != "particles":
        _link(master, table, directory, into)


def load(master: Master, job: JobController, output: str) -> CsTable:
    """A job's output with everything passed through."""
    dataset = master.ask(lambda: job.load_output(output, slots="all"))
    columns: dict[str, Any] = {}
    for field in dataset.fields():
        values = np.asarray(dataset[field])
        columns[field] = values.astype(object) if values.dtype.kind in "OSU" else values
    return CsTable(columns, f"{job.uid}.{output}")


def _picks(table: CsTable, directory: Path) -> None:
    """Picks by micrograph, as every other program of this package reads them."""
    places = place_columns(table)
    if "rlnCoordinateX" not in places:
        raise InputError(f"{table.source}: holds no coordinates")
    names = [str(name) for name in places["rlnMicrographName"]]
    at = np.stack([places["rlnCoordinateX"], places["rlnCoordinateY"]], axis=1).astype(np.float64)
    unknown = np.full(len(names), np.nan)
    ncc, power = (
        table.numbers(f"pick_stats/{field}") if f"pick_stats/{field}" in table else unknown
        for field in ("ncc_score", "power")
    )
    rows = {name: np.array([k for k, other in enumerate(names) if other == name]) for name in dict.fromkeys(names)}
    whole = Picks(at, ncc, power, unknown, np.zeros(len(names), dtype=np.int64), unknown)
    write_picks(directory, list(rows), (whole.subset(part) for part in rows.values()), {})


def _maps(master: Master, table: CsTable, product: Product, directory: Path, into: Collected) -> None:
    wanted = {product.role: "map/path"} | (_HALVES if product.shape == "maps" else {})
    for role, field in wanted.items():
        if field in table:
            _download(master, table.texts(field)[0], directory / f"{role}.mrc")
            into.files[role] = f"{role}.mrc"
        elif role == product.role:
            raise InputError(f"{table.source}: holds no map")


def _classes(master: Master, table: CsTable, product: Product, directory: Path, into: Collected) -> None:
    """The images of the classes, in the table's order, as one stack."""
    paths, numbers = table.texts("blob/path"), table.numbers("blob/idx").astype(np.int64)
    local: dict[str, Path] = {}
    for path in dict.fromkeys(paths):
        local[path] = directory / f"averages{len(local)}.mrc"
        _download(master, path, local[path])
    images = []
    for path, number in zip(paths, numbers.tolist(), strict=True):
        header = read_mrc_header(local[path])
        if not 0 <= number < header.shape[0]:
            raise InputError(f"{table.source}: image {number} is not in {PurePosixPath(path).name}")
        stack = np.memmap(local[path], dtype=header.dtype, mode="r", offset=header.data_offset, shape=header.shape)
        images.append(np.array(stack[number], dtype=np.float32))
    write_stack(directory / FILES["classes"], np.stack(images), float(table.numbers("blob/psize_A")[0]))
    for fetched in local.values():
        fetched.unlink()
    into.files[product.role], into.rows[product.role] = FILES["classes"], len(images)


def _download(master: Master, path: str, target: Path) -> None:
    name = path.removeprefix(">")
    if ".." in PurePosixPath(name).parts or name.startswith("/"):
        raise InputError(f"the master names a file outside its project: {name[:80]!r}")
    master.ask(lambda: master.client.download_file(master.settings.project, name, target))
    read_mrc_header(target)


def _particles(master: Master, table: CsTable, target: Path, into: Collected) -> None:
    """The table, with stacks under names that RELION takes where they can be linked."""
    particles = cs_particles(table)
    root = _project(master, table, into)
    if root is not None:
        particles, truth = stack_names(particles)
        link_stacks_as(truth, root, target.parent)
    write_particles(target, particles)
    into.notes += left_behind(table)


def _project(master: Master, table: CsTable, into: Collected) -> Path | None:
    """The project's folder, where it is visible here."""
    root = Path(str(master.ask(lambda: master.client.find_project(master.settings.project).dir)))
    if root.is_dir():
        return root
    into.notes.append(f"the project's folder is not visible here; images of {table.source} can be read on the master")
    return None


def _link(master: Master, table: CsTable, directory: Path, into: Collected) -> None:
    """Links under the first part of each micrograph's name, so that the table can be read here."""
    root = _project(master, table, into)
    if root is None:
        return
    for first in sorted({PurePosixPath(name).parts[0] for name in _names(table)} - {"/", "..", "."}):
        link = directory / first
        if not link.exists() and (root / first).exists():
            link.unlink(missing_ok=True)
            link.symlink_to(os.path.relpath(root / first, directory))


def _names(table: CsTable) -> Iterable[str]:
    for field in ("micrograph_blob/path", "location/micrograph_path"):
        if field in table:
            yield from (name.removeprefix(">") for name in set(table.texts(field)) if name)
