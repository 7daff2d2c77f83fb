"""Refinement of defocus, astigmatism and beam tilt with ``relion_ctf_refine``."""

from __future__ import annotations

from cryorepro.em.errors import InputError
from cryorepro.em.formats.ctfrefine_products import inspect_ctfrefine
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.relion_job import JobReport
from cryorepro.model.processing_stages import CtfRefinementParameters
from cryorepro.model.stage import StageCommand, StageRequest
from cryorepro_relion import inputs, program
from cryorepro_relion.command import environment, flags, number, option

INPUTS = ("particles", "postprocess")
MAPS = ("half1", "half2", "mask")


def plan(request: StageRequest) -> StageCommand:
    """The command line.

    Raises:
        InputError: an input is missing or wrong, or is a single map, which RELION does not take.
    """
    inputs.check_roles(request, INPUTS, MAPS)
    if ("half1" in request.inputs) != ("half2" in request.inputs):
        raise InputError(f"stage {request.stage}: inputs: give both half1 and half2, or neither.")
    data = inputs.read_input(request, ctf=True)
    for role in MAPS:
        if role in request.inputs:
            inputs.check_map(request.inputs[role], data.box_px, data.pixel_size_angstrom)
    argv = [program.CTF_REFINE, *_options(request), "--j", str(request.threads)]
    return StageCommand(argv=argv, environment=environment(request.threads), cwd=data.root)


def inspect(request: StageRequest) -> JobReport:
    """Check the table. Raises IncompleteJob if it is missing or makes no sense."""
    return inspect_ctfrefine(request.output_dir, before=read_particles(request.inputs["particles"]))


def _options(request: StageRequest) -> list[str]:
    p = CtfRefinementParameters.model_validate(request.parameters)
    if not (p.defocus or p.astigmatism or p.beam_tilt is not False):
        raise InputError(f"stage {request.stage}: parameters: nothing is to be fitted.")
    maps = {"--m1": "half1", "--m2": "half2", "--mask": "mask"}
    # Phase shift, defocus, astigmatism, Cs and B-factor: f(ixed), per p(article) or per m(icrograph).
    mode = f"f{'p' if p.defocus else 'f'}{'m' if p.astigmatism else 'f'}ff"
    lowest = p.lowest_resolution_angstrom
    return [
        *("--i", str(request.inputs["particles"].absolute())),
        *("--f", str(request.inputs["postprocess"].absolute())),
        *(word for name, role in maps.items() if role in request.inputs
          for word in (name, inputs.relion_name(request.inputs[role]))),
        *("--o", f"{request.output_dir.absolute()}/"),
        *(("--fit_defocus", "--fit_mode", mode, "--bf_range", number(p.defocus_range_angstrom))
          if p.defocus or p.astigmatism else ()),
        *(option("--kmin_defocus", lowest) if p.defocus or p.astigmatism else ()),
        *flags(fit_beamtilt=p.beam_tilt is not False),
        *(("--odd_aberr_max_n", "3") if p.trefoil and p.beam_tilt is not False else ()),
        *(option("--kmin_tilt", lowest) if p.beam_tilt is not False else ()),
    ]  # fmt: skip
