"""Reading what a refinement left: the figures RELION wrote, and nothing believed that is damaged."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import gemmi
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryorepro.em.errors import InputError
from cryorepro.em.formats.relion_files import iterations
from cryorepro.em.formats.relion_job import (
    IncompleteJob,
    inspect_class3d,
    inspect_refine3d,
    last_iteration,
    latest_progress,
)
from cryorepro.em.formats.relion_model import count_particles, read_model, read_optimiser
from tests.plugins.relion_set import BOX, PARTICLES, SEED, finished


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A copy of a finished classification: two iterations, two classes."""
    return Path(shutil.copytree(finished("class3d").output_dir, tmp_path / "job", symlinks=True))


def last(job: Path) -> int | None:
    found = last_iteration(job, rows=PARTICLES, box_px=BOX, number_of_classes=2)
    return found.number if found else None


def test_the_model_reads_as_gemmi_reads_it(job: Path) -> None:
    path = job / "run_it002_model.star"
    model = read_model(path)
    document = gemmi.cif.read(str(path))
    general = document.find_block("model_general")
    assert model.log_likelihood == float(general.find_value("_rlnLogLikelihood"))
    assert model.average_pmax == float(general.find_value("_rlnAveragePmax"))
    assert model.current_resolution_angstrom == float(general.find_value("_rlnCurrentResolution"))
    assert model.current_image_size_px == int(general.find_value("_rlnCurrentImageSize"))
    fractions = document.find_block("model_classes").find_loop("_rlnClassDistribution")
    assert model.class_fractions == tuple(float(value) for value in fractions)
    assert (model.box_px, model.pixel_size_angstrom) == (BOX, 6.0)


@pytest.mark.parametrize(("first", "second", "whole"), [("1.0000000000000002", "0", True), ("1.01", "0", False)])
def test_fractions_may_exceed_one_by_rounding_and_no_more(job: Path, first: str, second: str, whole: bool) -> None:
    path = job / "run_it002_model.star"
    document = gemmi.cif.read(str(path))
    column = document.find_block("model_classes").find_loop("_rlnClassDistribution")
    column[0], column[1] = first, second
    document.write_file(str(path))
    if whole:
        assert read_model(path).class_fractions == (float(first), float(second))
    else:
        with pytest.raises(InputError, match="no fractions of one whole"):
            read_model(path)


def test_the_state_before_the_first_iteration_has_no_resolution(job: Path) -> None:
    path = job / "run_it000_model.star"
    text = path.read_text()
    path.write_text(re.sub(r"(_rlnCurrentResolution +)\S+", r"\1inf", text))
    before = read_model(path)
    assert before.current_resolution_angstrom == float("inf") and before.current_image_size_px == 0


def test_the_optimiser_says_seed_and_command(job: Path) -> None:
    optimiser = read_optimiser(job / "run_it002_optimiser.star")
    assert (optimiser.random_seed, optimiser.iteration, optimiser.number_of_iterations) == (SEED, 2, 2)
    assert optimiser.command is not None
    assert optimiser.command[optimiser.command.index("--random_seed") + 1] == str(SEED)


def test_rows_are_counted(job: Path) -> None:
    assert count_particles(job / "run_it002_data.star") == PARTICLES
    with pytest.raises(InputError, match="rlnImageName"):
        count_particles(job / "run_it002_sampling.star")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, empty, Path.unlink])
@pytest.mark.parametrize("name", ["data.star", "model.star", "optimiser.star", "class001.mrc", "class002.mrc"])
def test_a_damaged_last_iteration_is_not_built_on(job: Path, name: str, damage: Callable[[Path], None]) -> None:
    assert last(job) == 2
    damage(job / f"run_it002_{name}")
    assert last(job) == 1
    with pytest.raises(IncompleteJob):
        inspect_class3d(job, number_of_iterations=2, number_of_classes=2, rows=PARTICLES, box_px=BOX)


@pytest.mark.parametrize("name", ["model.star", "sampling.star", "data.star"])
def test_a_table_cut_short_between_rows_is_not_built_on(job: Path, name: str) -> None:
    """A kill while RELION writes leaves a file that reads well and lacks its last rows."""
    path = job / f"run_it002_{name}"
    rows = path.read_text().rstrip().split("\n")
    path.write_text("\n".join(rows[:-2]) + "\n")
    assert last(job) == 1


def test_figures_out_of_range_are_refused(job: Path) -> None:
    path = job / "run_it002_model.star"
    whole = path.read_text()
    for label, value in (
        ("rlnLogLikelihood", "nan"), ("rlnAveragePmax", "inf"), ("rlnCurrentResolution", "-1"),
        ("rlnCurrentImageSize", "-2"), ("rlnPixelSize", "0"), ("rlnOriginalImageSize", "31.5"),
    ):  # fmt: skip
        path.write_text(re.sub(rf"(_{label} +)\S+", rf"\g<1>{value}", whole))
        with pytest.raises(InputError, match=label):
            read_model(path)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_in_a_star_file_read_or_are_refused(job: Path, data: st.DataObject) -> None:
    name, reader = data.draw(st.sampled_from([("model", read_model), ("optimiser", read_optimiser)]))
    whole = (finished("class3d").output_dir / f"run_it002_{name}.star").read_bytes()
    at = data.draw(st.integers(0, min(len(whole), 3000)))
    length = data.draw(st.integers(0, 40))
    noise = data.draw(st.binary(max_size=20))
    path = job / "noisy.star"
    path.write_bytes(whole[:at] + noise + whole[at + length :])
    try:
        reader(path)
    except InputError as error:
        assert "noisy.star" in str(error)


def test_a_continuation_is_preferred_to_what_it_replaced(job: Path) -> None:
    for path in list(job.glob("run_it002_*")):
        shutil.copy2(path, job / path.name.replace("run_it", "run_ct1_it"))
    found = last_iteration(job, rows=PARTICLES, box_px=BOX, number_of_classes=2)
    assert found is not None and found.prefix == "run_ct1" and found.continued
    report = inspect_class3d(job, number_of_iterations=2, number_of_classes=2, rows=PARTICLES, box_px=BOX)
    assert "resumed after iteration 1" in report.notes[0]


def test_files_older_than_the_job_are_stale_in_whatever_order_an_iteration_is_written(job: Path) -> None:
    for path in job.glob("run_it*"):
        os.utime(path, (1000, 1000))
    first, second = job / "run_it001_optimiser.star", job / "run_it002_optimiser.star"
    for path, seconds in ((first, 1010), (second, 1020)):
        os.utime(path, (seconds, seconds))  # written last of its iteration
    assert last(job) == 2
    for path in job.glob("run_it000*"):
        path.unlink()
    for path in job.glob("run_it002*"):
        os.utime(path, (1020, 1020))
    assert last(job) == 2
    os.utime(job / "run_it002_data.star", (1009, 1009))
    assert last(job) == 1


def test_a_class_missing_from_the_files_is_no_iteration(job: Path) -> None:
    assert [i.number for i in iterations(job, 2)] == [2, 1]
    assert list(iterations(job, 3)) == []
    with pytest.raises(IncompleteJob):
        inspect_class3d(job, number_of_iterations=2, number_of_classes=3, rows=PARTICLES, box_px=BOX)
    # Fewer classes than the model holds must not pass either.
    with pytest.raises(IncompleteJob, match="2 classes"):
        inspect_class3d(job, number_of_iterations=2, number_of_classes=1, rows=PARTICLES, box_px=BOX)


def test_another_box_or_row_count_is_refused(job: Path) -> None:
    for rows, box in ((PARTICLES + 1, BOX), (PARTICLES, BOX + 2)):
        with pytest.raises(IncompleteJob):
            inspect_class3d(job, number_of_iterations=2, number_of_classes=2, rows=rows, box_px=box)


def test_a_classification_is_no_refinement(job: Path) -> None:
    with pytest.raises(IncompleteJob, match="did not converge"):
        inspect_refine3d(job, rows=PARTICLES, box_px=BOX)


def test_an_empty_directory_is_no_job(tmp_path: Path) -> None:
    assert latest_progress(tmp_path) is None and last(tmp_path) is None
    with pytest.raises(IncompleteJob, match="no iteration"):
        inspect_refine3d(tmp_path, rows=1, box_px=2)
