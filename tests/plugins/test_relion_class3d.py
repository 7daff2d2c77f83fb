"""3D classification by the real RELION: from plan to result, interrupted, and gone wrong with exit code 0."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from cryorepro_relion.runner import RelionRunner

from cryorepro.em.formats.maps import read_map, write_map
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.stacks import ParticleStack
from cryorepro.model.stage import StageFailure, StageRequest
from tests.plugins.relion_set import (
    BOX,
    PARTICLES,
    SEED,
    carry_out,
    collect,
    finished,
    request,
    start,
    write_set,
)

RUNNER = RelionRunner()


def test_a_job_from_plan_to_result() -> None:
    asked = finished("class3d")
    result = collect(asked)
    assert result.iterations == 2 and result.seed == SEED and result.rows == {"particles": PARTICLES}
    assert set(result.outputs) == {"particles", "model", "optimiser", "class001", "class002"}
    assert all((asked.output_dir / path).is_file() for path in result.outputs.values())
    assert result.numbers["class001_fraction"] + result.numbers["class002_fraction"] == pytest.approx(1, abs=2e-6)
    assert 2 * 6 <= result.numbers["current_resolution_angstrom"] <= BOX * 6
    volume, _ = read_map(asked.output_dir / result.outputs["class001"])
    assert volume.shape == (BOX, BOX, BOX) and volume.std() > 0
    assert result.notes == []


def test_progress_is_read_from_the_files(tmp_path: Path) -> None:
    asked = finished("class3d")
    seen = RUNNER.progress(asked)
    assert seen is not None and (seen.iteration, seen.of) == (2, 2)
    assert seen.resolution_angstrom == collect(asked).numbers["current_resolution_angstrom"]
    assert RUNNER.progress(asked.model_copy(update={"output_dir": tmp_path})) is None


def test_the_next_stage_finds_the_images_beside_the_table() -> None:
    asked = finished("class3d")
    table = asked.output_dir / collect(asked).outputs["particles"]
    ours, theirs = (read_particles(path) for path in (table, asked.inputs["particles"]))
    assert ours.image_names == theirs.image_names
    assert np.array_equal(ParticleStack.open(ours).read(), ParticleStack.open(theirs).read())


def test_an_option_relion_does_not_know_fails_the_stage(tmp_path: Path) -> None:
    asked = request(write_set(tmp_path), tmp_path / "job", iterations=1, healpix_order=0)
    assert carry_out(asked, "--tau2_fugde", "8") == 0
    with pytest.raises(StageFailure, match="--tau2_fugde") as caught:
        collect(asked)
    assert caught.value.failure_class == "setup"


@pytest.mark.parametrize("name", ["data.star", "model.star", "optimiser.star", "sampling.star", "class002.mrc"])
def test_a_missing_final_file_fails_the_stage(name: str) -> None:
    asked = finished("class3d")
    path = asked.output_dir / f"run_it002_{name}"
    aside = path.with_suffix(".aside")
    path.rename(aside)
    try:
        assert failure(asked) == "incomplete-output"
    finally:
        aside.rename(path)


def test_a_final_file_of_an_earlier_job_fails_the_stage() -> None:
    asked = finished("class3d")
    path = asked.output_dir / "run_it002_data.star"
    status = path.stat()
    os.utime(path, (1, 1))
    try:
        assert failure(asked) == "incomplete-output"
    finally:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_fewer_rows_than_particles_fail_the_stage() -> None:
    asked = finished("class3d")
    path = asked.output_dir / "run_it002_data.star"
    whole = path.read_text()
    path.write_text("\n".join(line for line in whole.split("\n") if "000007@" not in line))
    try:
        assert failure(asked) == "incomplete-output"
    finally:
        path.write_text(whole)


def test_a_map_with_nan_fails_the_stage() -> None:
    asked = finished("class3d")
    path = asked.output_dir / "run_it002_class001.mrc"
    whole = path.read_bytes()
    path.write_bytes(whole[:-4] + np.float32(np.nan).tobytes())
    try:
        assert failure(asked) == "incomplete-output"
    finally:
        path.write_bytes(whole)


def test_other_parameters_iterations_or_seeds_than_planned_fail_the_stage() -> None:
    asked = finished("class3d")
    assert failure(asked.model_copy(update={"seed": SEED + 1})) == "setup"
    for name, value in (("iterations", 3), ("iterations", 1), ("tau2_fudge", 2.0)):
        changed = asked.model_copy(update={"parameters": asked.parameters | {name: value}})
        assert failure(changed) == "incomplete-output", name


def test_nan_pixels_do_not_pass(tmp_path: Path) -> None:
    home = write_set(tmp_path)
    stack = home / "images.mrcs"
    with stack.open("r+b") as stream:
        stream.seek(1024 + 4 * 500)
        stream.write(np.full(4, np.nan, np.float32).tobytes())
    asked = request(home, tmp_path / "job", iterations=1, healpix_order=0)
    if carry_out(asked) == 0:
        assert failure(asked) == "incomplete-output"


def test_several_references_and_a_reference_called_map(tmp_path: Path) -> None:
    home = write_set(tmp_path)
    volume, pixel_size = read_map(home / "reference.mrc")
    write_map(home / "first.mrc", volume, pixel_size)
    write_map(home / "second.mrc", np.roll(volume, 3, axis=0), pixel_size)
    (home / "both.star").write_text("\ndata_\n\nloop_\n_rlnReferenceImage #1\nfirst.mrc\nsecond.mrc\n\n")
    (home / "reference.mrc").rename(home / "emd.map")
    for reference, classes in (("both.star", 2), ("emd.map", 1)):
        inputs = {"particles": home / "particles.star", "reference": home / reference}
        asked = request(
            home,
            tmp_path / reference,
            inputs=inputs,
            iterations=1,
            healpix_order=0,
            number_of_classes=classes,
        )
        assert carry_out(asked) == 0
        assert collect(asked).iterations == 1


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> StageRequest:
    """A job of eight iterations, ended by SIGTERM within the second or a later one."""
    directory = tmp_path_factory.mktemp("interrupted")
    asked = request(write_set(directory), directory / "a job", iterations=8)
    process = start(RUNNER.plan(asked), asked.output_dir)
    try:
        while process.poll() is None:
            seen = RUNNER.progress(asked)
            if seen is not None and seen.iteration >= 1:
                process.send_signal(signal.SIGTERM)
                break
            time.sleep(0.02)
        assert process.wait(timeout=60) == -signal.SIGTERM
    finally:
        process.kill()
    return asked.model_copy(update={"resume": True})


def test_an_interrupted_job_is_continued(interrupted: StageRequest) -> None:
    seen = RUNNER.progress(interrupted)
    assert seen is not None and 1 <= seen.iteration < 8
    assert failure(interrupted) == "incomplete-output"
    # What was being written when the signal came must not be built on.
    partial = interrupted.output_dir / f"run_it{seen.iteration + 1:03d}_data.star"
    partial.write_text("\ndata_particles\n\nloop_\n_rlnImageName #1\n")
    command = RUNNER.plan(interrupted)
    started_from = interrupted.output_dir / f"run_it{seen.iteration:03d}_optimiser.star"
    assert command.argv[1:3] == ["--continue", str(started_from)] and "--random_seed" not in command.argv
    assert start(command, interrupted.output_dir).wait(timeout=300) == 0
    result = collect(interrupted)
    assert result.iterations == 8 and result.seed == SEED
    assert all(path.name.startswith(f"run_ct{seen.iteration}_it008_") for path in result.outputs.values())
    assert [note for note in result.notes if f"resumed after iteration {seen.iteration}" in note]
    progress = RUNNER.progress(interrupted)
    assert progress is not None and progress.iteration == 8


def test_without_a_complete_iteration_resuming_starts_afresh(tmp_path: Path) -> None:
    job = tmp_path / "job"
    asked = request(write_set(tmp_path), job, iterations=1, healpix_order=0, resume=True)
    fresh = RUNNER.plan(asked.model_copy(update={"resume": False}))
    job.mkdir()
    for name in ("data.star", "model.star", "sampling.star", "class001.mrc", "class002.mrc"):
        (job / f"run_it001_{name}").write_bytes(b"half a fi")
    assert RUNNER.plan(asked) == fresh
    assert carry_out(asked) == 0
    assert collect(asked).iterations == 1


def failure(asked: StageRequest) -> str:
    with pytest.raises(StageFailure) as caught:
        collect(asked)
    assert "\n" not in caught.value.message
    return caught.value.failure_class
