"""What motion correction leaves: checked, and counted while it runs. Nothing heavy is imported here."""

from __future__ import annotations

from cryorepro.em.errors import InputError
from cryorepro.em.formats.relion_job import JobReport
from cryorepro.em.motion.files import inspect_motion_correction
from cryorepro.em.movies.table import read_movie_table
from cryorepro.model.stage import Progress, StageRequest


def inspect_motioncorrection_stage(request: StageRequest) -> JobReport:
    """Check the lists, sums and trajectories. Raises IncompleteJob or InputError."""
    return inspect_motion_correction(request.output_dir, read_movie_table(request.inputs["movies"]))


def motioncorrection_progress(request: StageRequest) -> Progress | None:
    """How many movies have their trajectories; None before the first."""
    done = sum(1 for _ in (request.output_dir / "micrographs").glob("*.star"))
    try:
        total = len(read_movie_table(request.inputs["movies"]).names)
    except InputError:
        return None
    return Progress(iteration=done, of=total) if done else None
