"""Local resolution with ``relion_postprocess --locres``."""

from __future__ import annotations

from cryorepro.em.formats.locres_products import inspect_locres
from cryorepro.em.formats.mrc import read_mrc_header
from cryorepro.em.formats.relion_job import JobReport
from cryorepro.model.processing_stages import LocalResolutionParameters
from cryorepro.model.stage import StageCommand, StageRequest
from cryorepro_relion import inputs, program
from cryorepro_relion.command import environment, number, option


def plan(request: StageRequest) -> StageCommand:
    """The command line.

    Raises:
        InputError: a map is missing, or the maps do not have one box and pixel size.
    """
    # The mask is not told: RELION draws no more than a histogram with it, and fails without ghostscript.
    inputs.check_roles(request, ("half1", "half2"), ("mask",))
    header = read_mrc_header(request.inputs["half1"])
    pixel_size = inputs.pixel_size(header)
    for path in request.inputs.values():
        inputs.check_map(path, header.shape[2], pixel_size, "half1")
    p = LocalResolutionParameters.model_validate(request.parameters)
    argv = [
        program.POSTPROCESS,
        "--locres",
        *("--i", inputs.relion_name(request.inputs["half1"])),
        *("--i2", inputs.relion_name(request.inputs["half2"])),
        *("--o", str(request.output_dir.absolute() / "relion")),
        *("--angpix", number(pixel_size)),
        *("--locres_sampling", number(p.sampling_angstrom)),
        *option("--locres_maskrad", p.mask_radius_angstrom),
        *option("--locres_edgwidth", p.mask_edge_angstrom),
        *("--locres_randomize_at", number(p.randomise_at_angstrom)),
        *("--locres_minres", number(p.worst_resolution_angstrom)),
        *("--adhoc_bfac", number(p.bfactor_angstrom2)),
        *("--random_seed", str(request.seed)),
    ]
    return StageCommand(argv=argv, environment=environment(1), cwd=request.output_dir)


def inspect(request: StageRequest) -> JobReport:
    """Check the maps. Raises IncompleteJob if one is missing or makes no sense."""
    box_px = read_mrc_header(request.inputs["half1"]).shape[2]
    return inspect_locres(request.output_dir, box_px=box_px, mask=request.inputs.get("mask"))
