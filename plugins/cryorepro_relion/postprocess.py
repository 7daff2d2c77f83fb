"""Solvent-corrected FSC and sharpening with ``relion_postprocess``; it takes half maps under any name."""

from __future__ import annotations

from cryorepro.em.formats.mrc import read_mrc_header
from cryorepro.em.formats.mtf import read_mtf
from cryorepro.em.formats.relion_job import JobReport
from cryorepro.em.formats.relion_products import inspect_postprocess
from cryorepro.model.stage import StageCommand, StageRequest
from cryorepro.model.stages import PostProcessParameters
from cryorepro_relion import inputs, program
from cryorepro_relion.command import environment, flags, number, option


def plan(request: StageRequest) -> StageCommand:
    """The command line.

    Raises:
        InputError: a map is missing, or the three do not have one box and pixel size.
    """
    # Without a mask RELION 3.1.3 ends with an error of its plotting after writing part of its files.
    inputs.check_roles(request, ("half1", "half2", "mask"), ("mtf",))
    header = read_mrc_header(request.inputs["half1"])
    pixel_size = inputs.pixel_size(header)
    if "mtf" in request.inputs:
        read_mtf(request.inputs["mtf"])
    for role in ("half1", "half2", "mask"):
        inputs.check_map(request.inputs[role], header.shape[2], pixel_size, "half1")
    argv = [program.POSTPROCESS, *_options(request, pixel_size)]
    return StageCommand(argv=argv, environment=environment(1), cwd=request.output_dir)


def inspect(request: StageRequest) -> JobReport:
    """Check maps, curve and resolution. Raises IncompleteJob if one is missing or makes no sense."""
    box_px = read_mrc_header(request.inputs["half1"]).shape[2]
    return inspect_postprocess(request.output_dir, box_px=box_px, masked=True)


def _options(request: StageRequest, pixel_size_angstrom: float) -> list[str]:
    p = PostProcessParameters.model_validate(request.parameters)
    mtf = request.inputs.get("mtf")
    # A B-factor given by hand needs no fit, so the range of the fit is not said.
    sharpening = ["--auto_bfac", "--autob_lowres", number(p.lowest_resolution_angstrom)]
    sharpening += option("--autob_highres", p.highest_resolution_angstrom)
    if p.bfactor_angstrom2 is not None:
        sharpening = ["--adhoc_bfac", number(p.bfactor_angstrom2)]
    return [
        *("--i", inputs.relion_name(request.inputs["half1"])),
        *("--i2", inputs.relion_name(request.inputs["half2"])),
        *("--mask", inputs.relion_name(request.inputs["mask"])),
        *("--o", str(request.output_dir.absolute() / "postprocess")),
        *("--angpix", number(pixel_size_angstrom)),
        *sharpening,
        *flags(skip_fsc_weighting=p.skip_fsc_weighting),
        *option("--low_pass", p.lowpass_angstrom),
        *(("--mtf", str(mtf.absolute())) if mtf else ()),
        *option("--mtf_angpix", p.mtf_pixel_size_angstrom),
        *("--randomize_at_fsc", number(p.randomise_at_fsc)),
        *option("--randomize_at_A", p.randomise_from_angstrom),
        *("--random_seed", str(request.seed)),
    ]
