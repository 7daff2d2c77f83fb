"""Stage program: a soft mask from a map, written as ``mask.mrc``."""

from __future__ import annotations

from cryorepro.model.stage import StageRequest
from cryorepro.model.stages import MaskCreateParameters
from cryorepro_engines.programs._main import parameters_of, run_program

OUTPUT = "mask.mrc"


def work(request: StageRequest) -> None:
    """Make the mask of ``inputs.map``.

    Raises:
        InputError: the map is unreadable, or the threshold leaves nothing inside or outside.
    """
    from cryorepro.em.formats.maps import read_map, write_map
    from cryorepro.em.heap import keep_freed_memory
    from cryorepro.em.maskcreate import create_mask

    keep_freed_memory()
    parameters = parameters_of(request, MaskCreateParameters)
    volume, pixel_size = read_map(request.inputs["map"])
    mask = create_mask(
        volume,
        pixel_size,
        threshold=parameters.threshold,
        lowpass_angstrom=parameters.lowpass_angstrom,
        extend_px=parameters.extend_px,
        soft_edge_px=parameters.soft_edge_px,
    )
    write_map(request.output_dir / OUTPUT, mask, pixel_size)
    print(f"mask: {mask.mean():.4f} of the box, {int((mask > 0.5).sum())} voxels")


if __name__ == "__main__":
    run_program(work)
