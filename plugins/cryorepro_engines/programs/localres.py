"""Stage program: local resolution of two half maps, and their mean filtered by it, with RELION's file names."""

from __future__ import annotations

import math

from cryorepro.em.errors import InputError
from cryorepro.model.processing_stages import LocalResolutionParameters
from cryorepro.model.stage import StageRequest
from cryorepro_engines.programs._main import parameters_of, run_program


def work(request: StageRequest) -> None:
    """Measure ``inputs.half1`` and ``inputs.half2`` around the voxels of ``inputs.mask``, or everywhere.

    Raises:
        InputError: the maps do not belong together or are unreadable, or the windows do not fit the box.
    """
    import numpy as np

    from cryorepro.em.formats.locres_products import LOCRES_FILES
    from cryorepro.em.formats.maps import read_map, write_map
    from cryorepro.em.heap import keep_freed_memory
    from cryorepro.em.local_resolution import local_resolution
    from cryorepro.em.local_resolution_filter import locally_filtered
    from cryorepro.em.local_windows import LocalWindow
    from cryorepro.em.sharpening import apply_bfactor

    keep_freed_memory()
    p = parameters_of(request, LocalResolutionParameters)
    inputs = request.inputs
    half1, pixel_size = read_map(inputs["half1"])
    half2, other = read_map(inputs["half2"])
    mask = read_map(inputs["mask"])[0] if "mask" in inputs else None
    if not math.isclose(pixel_size, other, rel_tol=1e-3):
        raise InputError(f"{inputs['half2']}: pixel size {other} A, but the other half has {pixel_size} A.")
    lengths = (p.sampling_angstrom, p.mask_radius_angstrom, p.mask_edge_angstrom)
    found = local_resolution(
        half1,
        half2,
        pixel_size,
        LocalWindow.from_angstrom(pixel_size, *lengths),
        np.random.default_rng(request.seed),
        mask,
        p.randomise_at_angstrom,
        p.worst_resolution_angstrom,
        request.threads,
    )
    sharpened = apply_bfactor(np.float32(0.5) * (half1 + half2), pixel_size, p.bfactor_angstrom2)
    write_map(request.output_dir / LOCRES_FILES["local_resolution"], found.map_angstrom, pixel_size)
    write_map(request.output_dir / LOCRES_FILES["map"], locally_filtered(sharpened, found, pixel_size), pixel_size)
    print(f"{len(found.points)} windows, median resolution {np.median(found.point_angstrom):.2f} A")


if __name__ == "__main__":
    run_program(work)
