"""Stage program: defocus, astigmatism and beam tilt against a map, written as ``particles_ctf_refine.star``."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from cryorepro.em.errors import InputError
from cryorepro.model.processing_stages import CtfRefinementParameters
from cryorepro.model.stage import StageRequest
from cryorepro_engines.programs._main import parameters_of, run_program

if TYPE_CHECKING:
    from cryorepro.em.ctf_refine import CtfRefined, CtfRefineOptions
    from cryorepro.em.ctf_refine_tilt import TiltFit
    from cryorepro.em.formats.optics import OpticsGroup
    from cryorepro.em.formats.particles import Particles

LOWEST_RESOLUTION_ANGSTROM = 30.0


def work(request: StageRequest) -> None:
    """Refine the CTFs of ``inputs.particles``, whose poses are taken as they are.

    Raises:
        InputError: an input is malformed or does not fit the others, nothing is to be fitted, or the map holds
            no signal beyond the lowest resolution.
    """
    # One thread for products of matrices, whatever the request says: threads share the micrographs out. To be said
    # before numpy is loaded.
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
    import numpy as np

    from cryorepro.em.ctf_refine import CtfRefineOptions, refine_ctf
    from cryorepro.em.ctf_refine_data import Observer
    from cryorepro.em.ctf_refine_inputs import micrographs_of, open_posed_particles, read_references_of
    from cryorepro.em.formats.ctfrefine_products import CTF_REFINE_FILE
    from cryorepro.em.formats.particles import write_particles
    from cryorepro.em.heap import keep_freed_memory

    keep_freed_memory()
    p = parameters_of(request, CtfRefinementParameters)
    tilt = p.beam_tilt is not False
    options = CtfRefineOptions(p.defocus, p.astigmatism, tilt, tilt and p.trefoil, p.defocus_range_angstrom)
    _check(request, options.defocus or options.astigmatism or options.beam_tilt)
    loaded = open_posed_particles(request.inputs["particles"])
    references = read_references_of(request.inputs, loaded, np.random.default_rng(request.seed))
    extent = loaded.box_px * loaded.pixel_size_angstrom
    lowest = max(1, int(extent / (p.lowest_resolution_angstrom or LOWEST_RESOLUTION_ANGSTROM)) + 1)
    if references.last_shell <= lowest:
        raise InputError(
            f"{request.inputs['particles']}: the map holds no signal beyond {extent / lowest:.1f} A;"
            " give a coarser lowest_resolution_angstrom."
        )
    observer = Observer(loaded, references, (lowest, references.last_shell))
    groups = len(loaded.particles.optics)
    micrographs = micrographs_of(loaded.particles, options.astigmatism)
    found = refine_ctf(observer, micrographs, groups, options, request.threads)
    write_particles(request.output_dir / CTF_REFINE_FILE, _table(loaded.particles, found, options))
    _report(found, extent / references.last_shell)


def _check(request: StageRequest, anything: bool) -> None:
    if request.device != "cpu":
        raise InputError(f"stage {request.stage}: device '{request.device}' is not supported by this program yet.")
    if not anything:
        raise InputError(f"stage {request.stage}: parameters: nothing is to be fitted.")


def _table(particles: Particles, found: CtfRefined, options: CtfRefineOptions) -> Particles:
    """The table with the refined values; what was found of tilt and trefoil is added to what was already corrected."""
    pairs = zip(particles.optics, found.tilts, strict=True)
    optics = tuple(_with_aberrations(group, fit, options.trefoil) for group, fit in pairs)
    table = replace(particles, optics=optics)
    if not (options.defocus or options.astigmatism):
        return table
    u, v, angle = found.optics.columns()
    return table.with_columns(rlnDefocusU=u, rlnDefocusV=v, rlnDefocusAngle=angle)


def _with_aberrations(group: OpticsGroup, fit: TiltFit | None, trefoil: bool) -> OpticsGroup:
    from cryorepro.em.formats.optics import odd_zernike

    extra = dict(group.extra)
    if trefoil:
        cosine, sine = fit.trefoil if fit is not None else (0.0, 0.0)
        before = (odd_zernike(group) + [0.0] * 6)[:6]
        # the image's phase is minus phi; see cryorepro.em.aberrations for the order
        values = [old + new for old, new in zip(before, (0.0, 0.0, -sine, 0.0, 0.0, -cosine), strict=True)]
        extra["rlnOddZernike"] = "[" + ",".join(repr(value) for value in values) + "]"
    x, y = (fit.x_mrad, fit.y_mrad) if fit is not None else (0.0, 0.0)
    tilt_x, tilt_y = group.beam_tilt_x_mrad + x, group.beam_tilt_y_mrad + y
    return replace(group, beam_tilt_x_mrad=tilt_x, beam_tilt_y_mrad=tilt_y, extra=extra)


def _report(found: CtfRefined, resolution_angstrom: float) -> None:
    print(f"fitted to {resolution_angstrom:.2f} A; {int(found.at_limit.sum())} particles kept their defocus")
    for number, fit in enumerate(found.tilts, start=1):
        if fit is not None:
            print(
                f"optics group {number}: beam tilt changed by {fit.x_mrad:.3f} +- {fit.error_x_mrad:.3f},"
                f" {fit.y_mrad:.3f} +- {fit.error_y_mrad:.3f} mrad"
            )


if __name__ == "__main__":
    run_program(work)
