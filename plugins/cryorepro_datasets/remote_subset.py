"""Real particles of EMPIAR-10028 read from the archive by ranges: the same files a local copy would give."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cryorepro.em.errors import InputError
from cryorepro.em.formats.mrc import read_mrc_header
from cryorepro.em.formats.particles import read_particles
from cryorepro.model.dataset import DataRequest, PreparedData
from cryorepro.plugins.interfaces import Archive
from cryorepro_datasets.deposit import DepositParameters, check_declared, declared_errata, finish, parse_parameters
from cryorepro_datasets.empiar_10028 import BOX_PX, INFO, PIXEL_SIZE_ANGSTROM, ROWS, STAR_PATH, needed


def prepare_remote_subset(request: DataRequest, archive: Archive) -> PreparedData:
    """Fetch the table, the images of the selection and the reference, and link them below the directory.

    Raises:
        InputError: The archive cannot be read, or is not what EMPIAR-10028 declares.
    """
    parameters, errata = parse_parameters(request), declared_errata(request)
    try:
        star = archive.file(STAR_PATH)
        check_declared(read_particles(star, errata=errata), star)
        folder = archive.particles(STAR_PATH, parameters.particles, request.seed, errata, PIXEL_SIZE_ANGSTROM)
        if parameters.reference is None:
            reference = archive.emdb_map(INFO.emdb[0])
            parameters = parameters.model_copy(update={"reference": reference})
    except InputError as error:
        raise InputError(f"{str(error).rstrip('.')}. Without the archive, {needed(request.tier)}") from error
    return _link(request, parameters, star, folder)


def _link(request: DataRequest, parameters: DepositParameters, star: Path, folder: Path) -> PreparedData:
    request.directory.mkdir(parents=True, exist_ok=True)
    extra = {}
    for role, name in (("stack", "particles.mrcs"), ("origin_rows", "origin_rows.star")):
        extra[role] = request.directory / name
        _link_or_copy(folder / name, extra[role])
    box = read_mrc_header(extra["stack"]).shape[2]
    if box != BOX_PX:
        raise InputError(f"{extra['stack']}: box {box} is not the {BOX_PX} that EMPIAR-10028 declares.")
    table = read_particles(folder / "particles.star")
    text = f"{len(table)} of the {ROWS} particles of EMPIAR-10028, seed {request.seed}, from the archive by ranges"
    applied = read_particles(star, errata=declared_errata(request)).errata
    prepared = finish(request, parameters, star, table, text, applied)
    return prepared.model_copy(update={"files": {**prepared.files, **extra}})


def _link_or_copy(source: Path, destination: Path) -> None:
    """A second name for the same bytes where the filesystem allows it: the selection is not stored twice."""
    try:
        os.link(source, destination)
    except OSError:
        shutil.copyfile(source, destination)
