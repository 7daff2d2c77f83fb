"""Picking with ``relion_autopick``: the Laplacian of a Gaussian for blobs, or templates."""

from __future__ import annotations

import shlex
from pathlib import Path, PurePosixPath

from cryorepro.em.ctf_estimation_files import MicrographTable, read_micrograph_table
from cryorepro.em.errors import InputError
from cryorepro.em.formats.mrc import read_mrc_header
from cryorepro.em.formats.relion_job import IncompleteJob, JobReport
from cryorepro.em.picking.products import inspect_picking
from cryorepro.em.picking.tables import AUTOPICK, SUFFIX, read_coordinates, write_list
from cryorepro.model.picking_stages import PickingParameters
from cryorepro.model.stage import StageCommand, StageRequest
from cryorepro_relion import inputs, program
from cryorepro_relion.command import environment, flags, number, option

FOLDER = "picks"
"""RELION writes picks beside copies of the micrographs' folders; those are links here, so it gets one of its own."""
_LOWPASS_ANGSTROM, _STEP_DEG, _LEAST_DISTANCE_PER_DIAMETER = 20.0, 10.0, 0.8
_UNUSED = ("circular", "elliptical", "ring", "lowest_ncc", "most_picks")


def plan(request: StageRequest) -> StageCommand:
    """The command line; micrographs are linked where RELION runs, because it takes their names relative to there.

    Raises:
        InputError: an input is missing or wrong, or RELION cannot do what is asked.
    """
    p = PickingParameters.model_validate(request.parameters)
    templates = _method(request, p) == "template"
    inputs.check_roles(request, ("micrographs", "templates") if templates else ("micrographs",))
    table = read_micrograph_table(request.inputs["micrographs"])
    if p.micrographs is not None and p.micrographs < len(table.names):
        raise InputError(f"stage {request.stage}: parameters.micrographs: RELION picks the whole list; shorten that.")
    pixel = table.groups[0].pixel_size_angstrom
    chosen = _template_options(request, p, table) if templates else _log_options(p)
    argv = [
        program.AUTOPICK,
        *("--i", str(request.inputs["micrographs"].absolute())),
        *("--odir", f"{FOLDER}/", "--pickname", "autopick"),
        *("--lowpass", number(p.lowpass_angstrom or _LOWPASS_ANGSTROM), "--shrink", "0"),
        # with its own choice of scale 3.1.3 puts picks of 1240 x 1200 pixels 8 pixels to the left (measured)
        "--skip_optimise_scale",
        *chosen,
        *(("--skip_side", str(round(p.edge_angstrom / pixel))) if p.edge_angstrom else ()),
    ]
    links = [
        shlex.join(["ln", "-sfn", target, name])
        for name, target in inputs.folder_links(
            table, request.output_dir, "rlnMicrographName", (FOLDER,), "must lie in a folder beside the job's own"
        ).items()
    ]
    script = "; ".join([f"mkdir -p {FOLDER}", *links, f"exec {shlex.join(argv)}"])
    return StageCommand(argv=["sh", "-ec", script], environment=environment(1), cwd=request.output_dir)


def inspect(request: StageRequest) -> JobReport:
    """List the picks of every micrograph and check them. Raises IncompleteJob if a micrograph has none written."""
    p = PickingParameters.model_validate(request.parameters)
    table = read_micrograph_table(request.inputs["micrographs"])
    folder = request.output_dir / FOLDER
    files = [str(PurePosixPath(name).with_name(PurePosixPath(name).stem + SUFFIX)) for name in table.names]
    for file in files:
        if not (folder / file).is_file():
            raise IncompleteJob(f"{FOLDER}/{file}: RELION wrote no picks there")
    counts = [float(len(read_coordinates(folder / file))) for file in files]
    write_list(folder, table.names, files, {"cryoreproPicks": counts})
    report = inspect_picking(folder, table, table.names)
    default = PickingParameters()
    unused = [name for name in _UNUSED if getattr(p, name) != getattr(default, name)]
    notes = [*report.notes, *(f"parameters.{name}: RELION picks without it" for name in unused)]
    outputs = {"coordinates": Path(FOLDER) / AUTOPICK}
    return JobReport(outputs=outputs, rows=report.rows, numbers=report.numbers, notes=notes)


def _method(request: StageRequest, p: PickingParameters) -> str:
    method = p.method or "log"
    if method == "network":
        raise InputError(f"stage {request.stage}: method 'network': RELION 3.1 has none; log, blob or template.")
    if p.largest_diameter_angstrom is None and p.smallest_diameter_angstrom is None:
        raise InputError(f"stage {request.stage}: parameters.largest_diameter_angstrom is not given.")
    return method


def _log_options(p: PickingParameters) -> list[str]:
    smallest = p.smallest_diameter_angstrom or p.largest_diameter_angstrom or 0.0
    return [
        *("--LoG", "--LoG_diam_min", number(smallest)),
        *("--LoG_diam_max", number(p.largest_diameter_angstrom or smallest)),
        *option("--LoG_adjust_threshold", p.threshold),
        *option("--min_distance", p.least_distance_angstrom),
        *flags(Log_invert=not p.dark_particles),
    ]


def _template_options(request: StageRequest, p: PickingParameters, table: MicrographTable) -> list[str]:
    path = request.inputs["templates"]
    if path.suffix == ".star":
        raise InputError(f"stage {request.stage}: inputs.templates: {path}: RELION takes a stack or a map here.")
    header = read_mrc_header(path)
    diameter = p.largest_diameter_angstrom or p.smallest_diameter_angstrom or 0.0
    least = p.least_distance_angstrom or _LEAST_DISTANCE_PER_DIAMETER * (p.smallest_diameter_angstrom or diameter)
    volume = path.suffix != ".mrcs" and header.shape[0] > 1
    known = "rlnDefocusU" in table.rows.columns
    return [
        *("--ref", inputs.relion_name(path), "--angpix_ref", number(inputs.pixel_size(header))),
        *("--particle_diameter", number(diameter), "--min_distance", number(least)),
        *("--ang", number(p.step_degrees or _STEP_DEG)),
        *option("--threshold", p.threshold),
        *flags(invert=p.dark_particles, ctf=p.ctf and known),
        *(("--sym", p.symmetry, "--healpix_order", str(p.directions_healpix_order)) if volume else ()),
    ]
