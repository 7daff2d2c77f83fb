"""Stage program: particles cut out of micrographs at their picks, one stack per micrograph."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cryorepro.em.ctf_estimation_files import MicrographTable, read_micrograph_table
from cryorepro.em.errors import InputError
from cryorepro.em.formats.particles import write_particles
from cryorepro.em.formats.stack_writer import write_stack_chunks
from cryorepro.em.formats.star import make_block, write_star
from cryorepro.em.picking.extraction import (
    STACKS,
    Cut,
    cut_particles,
    dropped_columns,
    particle_table,
    picks_by_row,
    read_planes,
    used_optics,
)
from cryorepro.em.picking.picks import Picks
from cryorepro.em.picking.products import DROPPED, DROPPED_BLOCK, PARTICLES
from cryorepro.em.picking.tables import read_picks, stem_of
from cryorepro.em.reextraction import Cutting, read_micrograph
from cryorepro.model.picking_stages import ExtractionParameters
from cryorepro.model.stage import StageRequest
from cryorepro_engines.programs._main import parameters_of, run_program


def work(request: StageRequest) -> None:
    """Cut ``inputs.coordinates`` out of ``inputs.micrographs``, with the planes of ``inputs.local_defocus`` if given.

    Raises:
        InputError: an input is malformed, inputs do not fit each other, or no particle is left.
    """
    parameters = parameters_of(request, ExtractionParameters)
    table = read_micrograph_table(request.inputs["micrographs"])
    picks = read_picks(request.inputs["coordinates"])
    planes = read_planes(request.inputs["local_defocus"]) if "local_defocus" in request.inputs else {}
    cutting = _cutting(request, parameters)
    (request.output_dir / STACKS).mkdir(exist_ok=True)
    found = picks_by_row(table, picks)
    one = _Cutter(request, table, cutting, parameters.duplicates_within_angstrom)
    with ThreadPoolExecutor(request.threads) as pool:
        cuts = {row: result for row, result in zip(found, pool.map(one.cut, found.items()), strict=True) if result}
    kept = {row: result for row, result in cuts.items() if len(result.picks)}
    if not kept:
        raise InputError(f"{picks.source}: no whole box of {cutting.box_px} px lies around any pick.")
    particles = used_optics(particle_table(table, kept, planes, cutting))
    write_star(request.output_dir / DROPPED, [make_block(DROPPED_BLOCK, dropped_columns(table, cuts, list(cuts)))])
    write_particles(request.output_dir / PARTICLES, particles)
    print(f"{len(particles)} of {picks.total} picks, box {cutting.rescaled_box_px} px", flush=True)


class _Cutter:
    """Cuts one micrograph after the other and writes its stack."""

    def __init__(
        self, request: StageRequest, table: MicrographTable, cutting: Cutting, within_angstrom: float | None
    ) -> None:
        self.request, self.table, self.cutting, self.within = request, table, cutting, within_angstrom

    def cut(self, entry: tuple[int, Picks]) -> Cut | None:
        """Particles of one micrograph without their images, which are written; None where it cannot be read."""
        row, picks = entry
        pixel = self.table.groups[row].pixel_size_angstrom
        try:
            micrograph = read_micrograph(self.table.paths[row])
        except InputError as error:
            print(f"{self.table.names[row]}: unusable: {error}", flush=True)
            return None
        result = cut_particles(micrograph, picks, self.cutting, self.within and self.within / pixel)
        box = self.cutting.rescaled_box_px
        if len(result.images):
            path = self.request.output_dir / STACKS / f"{stem_of(self.table.names[row])}.mrcs"
            size = float(f"{pixel * self.cutting.box_px / box:.8g}")
            write_stack_chunks(path, [result.images], len(result.images), box, size)
        print(f"{self.table.names[row]}: {len(result.images)} of {len(picks)} picks", flush=True)
        return Cut(np.empty((0, box, box), dtype=np.float32), result.picks, result.dropped, result.shape)


def _cutting(request: StageRequest, p: ExtractionParameters) -> Cutting:
    if p.box_px is None:
        raise InputError(f"stage {request.stage}: parameters.box_px is not given; micrographs do not tell it.")
    return Cutting(p.box_px, p.rescaled_box_px or p.box_px, p.normalise, p.background_radius_px, p.invert_contrast)


if __name__ == "__main__":
    run_program(work)
