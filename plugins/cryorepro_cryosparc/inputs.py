"""What a stage's input files are to CryoSPARC: outputs of jobs it ran before, or files to import first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryorepro.em.errors import InputError
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.stack_links import find_root
from cryorepro.em.movies.table import read_movie_table
from cryorepro.model.stage import StageRequest
from cryorepro_cryosparc.recipes import Recipe

RECORD = "cryosparc_stage.json"
_SIBLINGS = {
    "micrographs": ("coordinates", "micrographs"),
    "particles": ("classes", "particles"),
    "templates": ("particles", "class_averages"),
}
"""Where a published pipeline does not name an input, the job that made another one has it too."""


@dataclass(frozen=True)
class Origin:
    """A job's output that a file of an earlier stage came from."""

    project: str
    job: str
    output: str


@dataclass(frozen=True)
class Import:
    """A job to run first: its type, its parameters, and the output that is then connected."""

    job_type: str
    parameters: dict[str, Any]
    output: str


def origin_of(path: Path) -> Origin | None:
    """The job's output behind a file, if an earlier stage of this runner wrote it."""
    record = path.parent / RECORD
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        job, output = content["files"][path.name]
        return Origin(str(content["project"]), str(job), str(output))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def sources(request: StageRequest, recipe: Recipe, project: str) -> dict[str, Origin | Import]:
    """By the job's input: an output to connect, or an import to run first.

    Raises:
        InputError: an input is not given, or cannot be imported.
    """
    found: dict[str, Origin | Import] = {}
    for name, role in recipe.inputs.items():
        path = request.inputs.get(role)
        if path is not None:
            origin = origin_of(path)
            known = origin is not None and origin.project == project
            found[name] = origin if origin is not None and known else _import(request, role, path)
            continue
        sibling = _sibling(request, role, project)
        if sibling is not None:
            found[name] = sibling
        elif role not in recipe.optional:
            raise InputError(f"stage {request.stage}: inputs.{role} is not given")
    return found


def _sibling(request: StageRequest, role: str, project: str) -> Origin | None:
    other, output = _SIBLINGS.get(role, ("", ""))
    path = request.inputs.get(other)
    origin = origin_of(path) if path is not None else None
    return Origin(project, origin.job, output) if origin is not None and origin.project == project else None


def _import(request: StageRequest, role: str, path: Path) -> Import:
    if role == "movies":
        return _movies(request, path)
    if role == "particles":
        particles = read_particles(path, require_ctf=False)
        meta = {"particle_meta_path": str(path.absolute()), "particle_blob_path": str(find_root(particles)[0])}
        return Import("import_particles", meta, "imported_particles")
    if role in ("reference", "mask"):
        kind = {"volume_type": "mask"} if role == "mask" else {}
        output = "imported_mask_1" if role == "mask" else "imported_volume_1"
        return Import("import_volumes", {"volume_blob_path": str(path.absolute()), **kind}, output)
    raise InputError(f"stage {request.stage}: inputs.{role} was not made by CryoSPARC and cannot be imported into it")


def _movies(request: StageRequest, path: Path) -> Import:
    table = read_movie_table(path)
    groups = {(g.pixel_size_angstrom, g.voltage_kv, g.spherical_aberration_mm) for g in table.groups}
    if len(groups) != 1:
        raise InputError(f"{path}: movies of several imaging conditions; import them one by one")
    pixel, voltage, spherical = groups.pop()
    given = request.parameters
    dose = given.get("total_dose_e_per_square_angstrom")
    if dose is None:
        raise InputError(f"stage {request.stage}: parameters.total_dose_e_per_square_angstrom is not given")
    parameters: dict[str, Any] = {
        "blob_paths": movie_pattern(request.output_dir, [file.suffix for file in table.paths]),
        "psize_A": pixel, "accel_kv": voltage, "cs_mm": spherical, "total_dose_e_per_A2": dose,
    }  # fmt: skip
    if "gain" in request.inputs:
        parameters |= _gain(request.inputs["gain"], given)
    for ours, theirs in (("eer_fractions", "eer_num_fractions"), ("eer_super_resolution", "eer_upsamp_factor")):
        if given.get(ours) is not None and {file.suffix for file in table.paths} == {".eer"}:
            parameters[theirs] = given[ours]
    return Import("import_movies", parameters, "imported_movies")


def _gain(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    turns = int(given.get("rotate_gain_quarter_turns") or 0)
    flips = {"gainref_flip_x": bool(given.get("flip_gain_x")), "gainref_flip_y": bool(given.get("flip_gain_y"))}
    if turns % 4 and any(flips.values()):
        raise InputError("a gain both turned and flipped: which comes first in CryoSPARC is not documented")
    # CryoSPARC turns against the clock, the stage's parameter with it
    return {"gainref_path": str(path.absolute()), "gainref_rotate_num": (4 - turns) % 4, **flips}


def movie_pattern(directory: Path, suffixes: list[str]) -> str:
    """The pattern that CryoSPARC imports: links to exactly the listed movies, in the stage's own folder.

    Raises:
        InputError: movies of several formats.
    """
    if len(set(suffixes)) != 1:
        raise InputError(f"movies of several formats ({', '.join(sorted(set(suffixes)))}); CryoSPARC imports one")
    return str(directory.absolute() / "movies" / f"*{suffixes[0]}")


def link_movies(request: StageRequest) -> None:
    """Make the links that :func:`movie_pattern` names."""
    folder = request.output_dir / "movies"
    folder.mkdir(exist_ok=True)
    for file in read_movie_table(request.inputs["movies"]).paths:
        link = folder / file.name
        if not link.is_symlink():
            link.symlink_to(file.absolute())
