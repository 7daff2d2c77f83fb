"""Stage program: solvent-corrected FSC and sharpening of two half maps, with RELION's file names."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cryorepro.em.errors import InputError
from cryorepro.model.stage import StageRequest
from cryorepro.model.stages import PostProcessParameters
from cryorepro_engines.programs._main import parameters_of, run_program

if TYPE_CHECKING:
    from cryorepro.em.sharpening import Sharpening


def work(request: StageRequest) -> None:
    """Post-process ``inputs.half1`` and ``inputs.half2`` within ``inputs.mask``, if one is given.

    ``inputs.mtf`` is a STAR file with the detector's transfer function, divided out if given.

    Raises:
        InputError: the maps do not belong together or are unreadable, or the B-factor cannot be fitted.
    """
    import numpy as np

    from cryorepro.em.formats.maps import read_map, write_map
    from cryorepro.em.heap import keep_freed_memory
    from cryorepro.em.postprocess import postprocess
    from cryorepro.em.postprocess_files import write_fsc_xml, write_postprocess_star

    keep_freed_memory()
    parameters = parameters_of(request, PostProcessParameters)
    inputs, directory = request.inputs, request.output_dir
    half1, pixel_size = read_map(inputs["half1"])
    half2, other = read_map(inputs["half2"])
    mask = read_map(inputs["mask"])[0] if "mask" in inputs else None
    if not math.isclose(pixel_size, other, rel_tol=1e-3):
        raise InputError(f"{inputs['half2']}: pixel size {other} A, but the other half has {pixel_size} A.")
    result = postprocess(
        half1,
        half2,
        mask,
        pixel_size,
        np.random.default_rng(request.seed),
        _sharpening(request, parameters),
        randomise_at_fsc=parameters.randomise_at_fsc,
        randomise_from_angstrom=parameters.randomise_from_angstrom,
    )
    masked = result.sharpened if mask is None else result.sharpened * mask
    write_map(directory / "postprocess.mrc", result.sharpened, pixel_size)
    write_map(directory / "postprocess_masked.mrc", masked, pixel_size)
    write_fsc_xml(directory / "postprocess_fsc.xml", result)
    names = [str(inputs[role]) if role in inputs else None for role in ("half1", "half2", "mask")]
    write_postprocess_star(directory / "postprocess.star", result, str(names[0]), str(names[1]), names[2])
    print(f"resolution {result.resolution_angstrom:.2f} A, B-factor {result.bfactor_angstrom2:.0f} A^2")


def _sharpening(request: StageRequest, parameters: PostProcessParameters) -> Sharpening:
    from cryorepro.em.formats.mtf import read_mtf
    from cryorepro.em.sharpening import Sharpening

    return Sharpening(
        bfactor_angstrom2=None if parameters.automatic_bfactor else parameters.bfactor_angstrom2,
        lowest_resolution_angstrom=parameters.lowest_resolution_angstrom,
        highest_resolution_angstrom=parameters.highest_resolution_angstrom,
        fsc_weighting=not parameters.skip_fsc_weighting,
        lowpass_angstrom=parameters.lowpass_angstrom,
        mtf=read_mtf(request.inputs["mtf"]) if "mtf" in request.inputs else None,
        mtf_pixel_size_angstrom=parameters.mtf_pixel_size_angstrom,
    )


if __name__ == "__main__":
    run_program(work)
