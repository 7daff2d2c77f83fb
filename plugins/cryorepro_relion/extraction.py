"""Extraction of particles with ``relion_preprocess``, one defocus for all particles of a micrograph."""

from __future__ import annotations

import shlex
from pathlib import Path, PurePosixPath

from cryorepro.em.ctf_estimation_files import MicrographTable, read_micrograph_table
from cryorepro.em.errors import InputError
from cryorepro.em.formats.relion_job import IncompleteJob, JobReport, readable
from cryorepro.em.formats.selection_products import inspect_extracted
from cryorepro.em.picking.tables import SUFFIX, PickTable, read_picks
from cryorepro.model.picking_stages import ExtractionParameters
from cryorepro.model.stage import StageCommand, StageRequest
from cryorepro_relion import inputs, program
from cryorepro_relion.command import environment, flags, number

PARTICLES, STACKS = "particles.star", "particles/"
IGNORED = ("local_defocus",)
_BACKGROUND_PART_OF_BOX = 0.375
"""Of the finished box, as for our own extraction; RELION has no default."""


def plan(request: StageRequest) -> StageCommand:
    """The command line: RELION takes names relative to where it runs, so the micrographs are linked there first.

    Raises:
        InputError: an input is missing or wrong, the box is not given, or picks are not where RELION looks for them.
    """
    inputs.check_roles(request, ("micrographs", "coordinates"), IGNORED)
    table = read_micrograph_table(request.inputs["micrographs"])
    picks = read_picks(request.inputs["coordinates"])
    folder = _coordinate_folder(table, picks)
    links = [
        shlex.join(["ln", "-sfn", target, name])
        for name, target in inputs.folder_links(
            table, request.output_dir, "rlnMicrographName", (), "leads out of its folder"
        ).items()
    ]
    extract = shlex.join([program.PREPROCESS, *_options(request, folder)])
    script = "; ".join([*links, f"exec {extract}"])
    return StageCommand(argv=["sh", "-ec", script], environment=environment(1), cwd=request.output_dir)


def inspect(request: StageRequest) -> JobReport:
    """Check that every pick became an image of the right box. Raises IncompleteJob if not."""
    p = ExtractionParameters.model_validate(request.parameters)
    table = read_micrograph_table(request.inputs["micrographs"])
    picks = read_picks(request.inputs["coordinates"])
    wanted = sum(len(found) for name, found in zip(picks.names, picks.picks, strict=True) if name in table.names)
    report = inspect_extracted(request.output_dir, most_rows=wanted, box_px=p.rescaled_box_px or p.box_px)
    if report.rows["particles"] != wanted:
        raise IncompleteJob(f"{PARTICLES}: {report.rows['particles']} particles of {wanted} picks")
    for name in {PurePosixPath(name).parts[0] for name in table.names}:
        readable(lambda path: path.resolve(strict=True), request.output_dir / name)
    unused = [f"inputs.{role}: RELION extracts without it" for role in IGNORED if role in request.inputs]
    return JobReport(outputs=report.outputs, rows=report.rows, numbers=report.numbers, notes=unused)


def _options(request: StageRequest, folder: Path) -> list[str]:
    p = ExtractionParameters.model_validate(request.parameters)
    if p.box_px is None:
        raise InputError(f"stage {request.stage}: parameters.box_px is not given.")
    if p.duplicates_within_angstrom is not None:
        raise InputError(f"stage {request.stage}: parameters.duplicates_within_angstrom: RELION does not remove them.")
    finished = p.rescaled_box_px or p.box_px
    radius = p.background_radius_px or _BACKGROUND_PART_OF_BOX * finished
    return [
        *("--i", str(request.inputs["micrographs"].absolute())),
        *("--coord_dir", f"{folder}/", "--coord_suffix", SUFFIX),
        *("--part_star", PARTICLES, "--part_dir", STACKS, "--extract", "--extract_size", number(p.box_px)),
        *(("--scale", number(finished)) if finished != p.box_px else ()),
        *(("--norm", "--bg_radius", str(round(radius))) if p.normalise else ()),
        *flags(invert_contrast=p.invert_contrast),
    ]


def _coordinate_folder(table: MicrographTable, picks: PickTable) -> Path:
    """The folder to which RELION adds a micrograph's name and the suffix to find its picks."""
    folder = picks.source.absolute().parent
    listed = [name for name in picks.names if name in set(table.names)]
    if not listed:
        raise InputError(f"{picks.source}: rlnMicrographName names no micrograph of {table.source}.")
    for name in listed:
        sought = folder / PurePosixPath(name).with_suffix("").with_name(PurePosixPath(name).stem + SUFFIX)
        if not sought.is_file():
            raise InputError(f"{sought}: does not exist; RELION looks there for the picks of {name}.")
    return folder
