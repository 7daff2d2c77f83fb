"""The schedule of a refinement by the real RELION: our rules count and decide as it did, from its own figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from cryorepro.em.formats.star import read_star
from cryorepro.em.refine_schedule import Accuracy, Changes, Schedule
from tests.plugins.relion_set import BOX, PIXEL_SIZE, finished


@dataclass(frozen=True)
class Written:
    """What RELION wrote after one iteration; lengths in pixels. ``shell`` is where the resolution is."""

    order: int
    offset_step_px: float
    offset_range_px: float
    shell: int
    without_gain: int
    without_change: int
    changes: Changes
    smallest: Changes
    accuracy: Accuracy


@pytest.fixture(scope="module")
def iterations() -> list[Written]:
    directory = finished("refine3d").output_dir
    return [_written(directory, number) for number in range(1, len(list(directory.glob("run_it*_optimiser.star"))))]


def _written(directory: Path, number: int) -> Written:
    optimiser = read_star(directory / f"run_it{number:03d}_optimiser.star")["optimiser_general"]
    sampling = read_star(directory / f"run_it{number:03d}_sampling.star")["sampling_general"]
    model = read_star(directory / f"run_it{number:03d}_half1_model.star")["model_general"]
    return Written(
        order=int(sampling.value("rlnHealpixOrder")),
        offset_step_px=float(sampling.value("rlnOffsetStep")) / PIXEL_SIZE,
        offset_range_px=float(sampling.value("rlnOffsetRange")) / PIXEL_SIZE,
        shell=round(BOX * PIXEL_SIZE / float(model.value("rlnCurrentResolution"))),
        without_gain=int(optimiser.value("rlnNumberOfIterWithoutResolutionGain")),
        without_change=int(optimiser.value("rlnNumberOfIterWithoutChangingAssignments")),
        changes=Changes(
            float(optimiser.value("rlnChangesOptimalOrientations")),
            float(optimiser.value("rlnChangesOptimalOffsets")) / PIXEL_SIZE,
        ),
        smallest=Changes(
            float(optimiser.value("rlnSmallestChangesOrientations")),
            float(optimiser.value("rlnSmallestChangesOffsets")) / PIXEL_SIZE,
        ),
        accuracy=Accuracy(
            float(optimiser.value("rlnOverallAccuracyRotations")),
            float(optimiser.value("rlnOverallAccuracyTranslationsAngst")) / PIXEL_SIZE,
        ),
    )


def test_our_schedule_counts_refines_and_ends_as_relions_did(iterations: list[Written]) -> None:
    first = iterations[0]
    schedule = Schedule(
        first.order, 1, first.offset_range_px, first.offset_step_px, BOX // 2, local_order=1,
        best_shell=first.shell, without_gain=first.without_gain, without_change=first.without_change,
        smallest_rotation_deg=first.smallest.rotation_deg, smallest_offset_px=first.smallest.offset_px,
    )  # fmt: skip
    for number, written in enumerate(iterations[1:], start=1):
        schedule = schedule.seen(written.shell, written.changes)
        assert (schedule.without_gain, schedule.without_change) == (written.without_gain, written.without_change)
        if number + 1 == len(iterations):
            break
        following = iterations[number + 1]
        schedule = schedule.advanced(following.accuracy, written.changes)
        assert not schedule.converged and schedule.healpix_order == following.order
    assert schedule.stalled and schedule.fine_enough
