"""Checks of what homogeneous and non-uniform refinement leave."""

from __future__ import annotations

from cryorepro.em.formats.homogeneous_products import inspect_homogeneous
from cryorepro.em.formats.mrc import read_mrc_header
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.relion_job import JobReport
from cryorepro.em.formats.stack_links import find_root, link_stacks
from cryorepro.model.stage import StageRequest


def inspect_homogeneous_stage(request: StageRequest) -> JobReport:
    """A converged refinement's files, its mask and its FSC."""
    return _inspect(request, local=False)


def inspect_nonuniform_stage(request: StageRequest) -> JobReport:
    """The same, and the map of local low-passes."""
    return _inspect(request, local=True)


def _inspect(request: StageRequest, *, local: bool) -> JobReport:
    particles = read_particles(request.inputs["particles"], require_ctf=False)
    root, images = find_root(particles)
    box_px = read_mrc_header(images.paths[0]).shape[2]
    report = inspect_homogeneous(request.output_dir, rows=len(particles), box_px=box_px, local=local)
    link_stacks(request.output_dir / report.outputs["particles"], root)
    return report
