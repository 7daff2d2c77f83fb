"""What a CTF refinement leaves, checked for physical sense, and how far it moved the particles' parameters."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cryorepro.em.formats.particles import Particles, read_particles
from cryorepro.em.formats.relion_job import IncompleteJob, JobReport, readable

CTF_REFINE_FILE = "particles_ctf_refine.star"
# Beyond these no microscope was ever aligned so badly, but fits diverge.
_LARGEST_TILT_MRAD = 20.0


def inspect_ctfrefine(directory: Path, *, before: Particles) -> JobReport:
    """Check the refined table against the one it was made from.

    Raises:
        IncompleteJob: it is missing or malformed, holds other particles, a defocus that is no underfocus or
            overfocus of a microscope, or a beam tilt beyond 20 mrad.
    """
    path = directory / CTF_REFINE_FILE
    after = readable(read_particles, path)
    if len(after) != len(before):
        raise IncompleteJob(f"{path.name}: {len(after)} particles, not {len(before)}")
    if sorted(_names(after)) != sorted(_names(before)):
        raise IncompleteJob(f"{path.name}: the images are not those of the input")
    tilts = {f"beam_tilt_{axis}_mrad": [getattr(g, f"beam_tilt_{axis}_mrad") for g in after.optics] for axis in "xy"}
    for label, values in tilts.items():
        if not all(abs(value) <= _LARGEST_TILT_MRAD for value in values):
            raise IncompleteJob(f"{path.name}: {label} of {values}, beyond {_LARGEST_TILT_MRAD:g} mrad")
    numbers = _changes(before, after)
    if len(after.optics) == 1:
        numbers |= {label: float(values[0]) for label, values in tilts.items()}
    return JobReport({"particles": Path(CTF_REFINE_FILE)}, rows={"particles": len(after)}, numbers=numbers)


def _names(particles: Particles) -> list[str]:
    """Image names without their directories, which a program may write as it likes."""
    return [name.partition("@")[0].lstrip("0") + "@" + name.rpartition("/")[2].rpartition("@")[2]
            for name in particles.image_names]  # fmt: skip


def _changes(before: Particles, after: Particles) -> dict[str, float]:
    place = {name: row for row, name in enumerate(_names(after))}
    after = after.subset([place[name] for name in _names(before)])
    mean = [(p.defocus_u_angstrom + p.defocus_v_angstrom) / 2 for p in (before, after)]
    part = [
        (p.defocus_u_angstrom - p.defocus_v_angstrom) * np.exp(2j * np.deg2rad(p.defocus_angle_degrees))
        for p in (before, after)
    ]
    return {
        "defocus_change_rms_angstrom": float(np.sqrt(np.mean((mean[1] - mean[0]) ** 2))),
        "astigmatism_change_rms_angstrom": float(np.sqrt(np.mean(np.abs(part[1] - part[0]) ** 2))),
    }
