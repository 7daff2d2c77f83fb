"""A soft mask with ``relion_mask_create``."""

from __future__ import annotations

from cryorepro.em.formats.mrc import read_mrc_header
from cryorepro.em.formats.relion_job import JobReport
from cryorepro.em.formats.relion_products import MASK_FILE, inspect_maskcreate
from cryorepro.model.stage import StageCommand, StageRequest
from cryorepro.model.stages import MaskCreateParameters
from cryorepro_relion import inputs, program
from cryorepro_relion.command import environment, number


def plan(request: StageRequest) -> StageCommand:
    """The command line.

    Raises:
        InputError: the map is missing or has no pixel size.
    """
    p = MaskCreateParameters.model_validate(request.parameters)
    inputs.check_roles(request, ("map",))
    pixel_size = inputs.pixel_size(read_mrc_header(request.inputs["map"]))
    lowpass = p.lowpass_angstrom
    argv = [
        program.MASK_CREATE,
        *("--i", inputs.relion_name(request.inputs["map"])),
        *("--o", str(request.output_dir.absolute() / MASK_FILE)),
        *(("--lowpass", number(lowpass), "--angpix", number(pixel_size)) if lowpass is not None else ()),
        *("--ini_threshold", number(p.threshold)),
        *("--extend_inimask", number(p.extend_px)),
        *("--width_soft_edge", number(p.soft_edge_px)),
        *("--j", str(request.threads)),
    ]
    return StageCommand(argv=argv, environment=environment(request.threads), cwd=request.output_dir)


def inspect(request: StageRequest) -> JobReport:
    """Check the mask. Raises IncompleteJob if it is missing or no mask."""
    box_px = read_mrc_header(request.inputs["map"]).shape[2]
    return inspect_maskcreate(request.output_dir, box_px=box_px)
