"""The class2d stage program as it is started: its files, resume, what it says to bad input; and RELION's own stage."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from cryorepro_engines.runner import RelionLikeRunner
from cryorepro_relion.runner import RelionRunner

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import write_stack
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.star import make_block, read_star, write_star
from cryorepro.model.class2d_stages import Class2DParameters
from cryorepro.model.stage import StageRequest
from tests.em.simulated import write_set
from tests.em.views import adjusted_rand, purity, view_set
from tests.plugins.relion_set import start

BOX, COUNT, PIXEL = 32, 150, 14.0
SEEN = view_set(COUNT, 3, box_px=BOX, pixel_size_angstrom=PIXEL, snr=1.0, seed=6, shift_px=0.7)


@pytest.fixture
def star(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    return write_set(SEEN.data, folder, micrographs=2)


def _request(star: Path, output: Path, references: Path | None = None, **changes: Any) -> StageRequest:
    own = {name: changes.pop(name) for name in list(changes) if name in StageRequest.model_fields}
    chosen: dict[str, Any] = {
        "number_of_classes": 4, "iterations": 3, "particle_diameter_angstrom": 330.0, "tau2_fudge": 2.0,
        "psi_step_degrees": 12.0, "oversampling": 1, "offset_range_px": 2.0, "offset_step_px": 1.0, "zero_mask": True,
        "norm": True, "scale": True,
    }  # fmt: skip
    parameters = Class2DParameters.model_validate(chosen | changes).model_dump()
    inputs = {"particles": star} | ({"references": references} if references else {})
    fields: dict[str, Any] = {"seed": 11, "threads": 1} | own
    return StageRequest(stage="c", kind="class2d", parameters=parameters, inputs=inputs, output_dir=output, **fields)


def _run(asked: StageRequest, **changes: Any) -> subprocess.CompletedProcess[str]:
    asked.output_dir.mkdir(exist_ok=True)
    request = json.loads(asked.model_dump_json())
    request["parameters"] |= changes
    argv = [sys.executable, "-m", "cryorepro_engines.programs.class2d", "--request-json", json.dumps(request)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)


def test_without_references_the_views_are_told_apart(star: Path, tmp_path: Path) -> None:
    asked = _request(star, tmp_path / "out", iterations=8, threads=2, number_of_classes=6)
    done = _run(asked)
    assert done.returncode == 0, done.stderr
    result = RelionLikeRunner().collect(asked, tmp_path / "log")
    assert result.seed == 11 and result.iterations == 8 and result.rows == {"particles": COUNT}
    assert set(result.outputs) == {"particles", "model", "optimiser", "classes"}
    table = read_particles(asked.output_dir / result.outputs["particles"])
    assert table.image_names == read_particles(star).image_names
    found = table.columns["rlnClassNumber"] - 1
    # by chance: 0.4 and 0; the real RELION on these images: 0.75 to 0.95 and 0.36 to 0.72 over three seeds
    assert purity(found, SEEN.which) > 0.75
    assert adjusted_rand(found, SEEN.which) > 0.35
    averages = mrcfile.read(asked.output_dir / result.outputs["classes"])
    assert averages.shape == (6, BOX, BOX)
    seen = RelionLikeRunner().progress(asked)
    assert seen is not None and (seen.iteration, seen.of) == (8, 8)


def test_any_number_of_threads_and_a_resumed_run_write_the_same_bits(star: Path, tmp_path: Path) -> None:
    one, two = (_request(star, tmp_path / name, threads=n) for name, n in (("one", 1), ("two", 2)))
    assert _run(one).returncode == 0 and _run(two).returncode == 0
    (two.output_dir / "run_it003_optimiser.star").unlink()  # as if killed while iteration 3 was written
    (two.output_dir / "run_it003_classes.mrcs").write_bytes(b"torn")
    resumed = _run(two.model_copy(update={"resume": True}))
    assert resumed.stdout.splitlines()[0] == "resuming after iteration 2"
    for name in ("classes.mrcs", "data.star", "model.star", "sampling.star"):
        ours, theirs = (asked.output_dir / f"run_it003_{name}" for asked in (one, two))
        assert ours.read_bytes() == theirs.read_bytes(), name


def test_any_number_of_processes_gives_the_same_bits_in_deterministic_mode(star: Path, tmp_path: Path) -> None:
    # four: more than there are chunks of particles, so that some have nothing to do
    asked = {n: _request(star, tmp_path / f"by{n}", processes=n, deterministic=True) for n in (1, 2, 4)}
    for number, request in asked.items():
        done = _run(request)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[0].startswith(f"{number} process(es)" if number > 1 else "iteration 1/3") and len(lines) >= 3
    for name in ("classes.mrcs", "data.star", "model.star", "sampling.star"):
        assert len({(request.output_dir / f"run_it003_{name}").read_bytes() for request in asked.values()}) == 1, name


def test_fast_subsets_leave_the_other_particles_where_they_were(star: Path, tmp_path: Path) -> None:
    asked = _request(star, tmp_path / "out", iterations=1, number_of_classes=1, fast_subsets=True)
    assert _run(asked).returncode == 0
    chance = read_particles(asked.output_dir / "run_it001_data.star").numbers("rlnMaxValueProbDistribution")
    assert (chance > 0).sum() == 100


def _references(folder: Path) -> Path:
    write_stack(folder / "refs.mrcs", np.stack([SEEN.projection(view) for view in range(3)]), PIXEL)
    names = [f"{view + 1:06d}@refs.mrcs" for view in range(3)]
    write_star(folder / "refs.star", [make_block("", {"rlnReferenceImage": names})])
    return folder / "refs.star"


def test_relion_carries_the_stage_out_and_its_files_pass_the_same_checks(star: Path, tmp_path: Path) -> None:
    references = _references(star.parent)
    asked = _request(star, tmp_path / "out", references, number_of_classes=3, iterations=2, offset_sigma_angstrom=1000)
    runner, log = RelionRunner(), tmp_path / "out" / "log.txt"
    assert start(runner.plan(asked), asked.output_dir).wait(timeout=300) == 0
    result = runner.collect(asked, log)
    assert set(result.outputs) == {"particles", "model", "optimiser", "classes"}
    table = read_particles(asked.output_dir / result.outputs["particles"])
    rows = [int(name.partition("@")[0]) - 1 for name in table.image_names]
    assert (table.columns["rlnClassNumber"] - 1 == SEEN.which[rows]).mean() > 0.95
    seen = runner.progress(asked)
    assert seen is not None and (seen.iteration, seen.of) == (2, 2)


def test_relion_goes_on_reading_what_is_written(star: Path, tmp_path: Path) -> None:
    """Its next classification starts from our table and our averages."""
    first = _request(star, tmp_path / "first", _references(star.parent), number_of_classes=3, iterations=1)
    assert _run(first).returncode == 0
    RelionLikeRunner().collect(first, tmp_path / "log")
    names = read_star(first.output_dir / "run_it001_model.star")["model_classes"].columns["rlnReferenceImage"]
    listed = first.output_dir / "next.star"
    write_star(listed, [make_block("", {"rlnReferenceImage": list(names)})])
    table = first.output_dir / "run_it001_data.star"
    again = _request(table, tmp_path / "second", listed, number_of_classes=3, iterations=1)
    runner = RelionRunner()
    assert start(runner.plan(again), again.output_dir).wait(timeout=300) == 0
    assert runner.collect(again, again.output_dir / "log.txt").iterations == 1


def test_a_classification_changes_hands_both_ways(star: Path, tmp_path: Path) -> None:
    """RELION goes on from our iteration, and ours from RELION's, to averages that are alike."""
    references = _references(star.parent)
    options: dict[str, Any] = {"number_of_classes": 3, "offset_sigma_angstrom": 1000, "perturbation": 0.0}
    theirs = _request(star, tmp_path / "job", references, iterations=2, **options)
    assert start(RelionRunner().plan(theirs), theirs.output_dir).wait(timeout=300) == 0
    (theirs.output_dir / "particles.mrcs").symlink_to(star.parent / "particles.mrcs")
    ours = _request(star, theirs.output_dir, references, iterations=3, resume=True, **options)
    done = _run(ours)
    assert done.returncode == 0, done.stderr
    assert "resuming after iteration 2 of RELION's files" in done.stdout
    for before in (2, 3):
        argv = ["relion_refine", "--continue", f"run_it{before:03d}_optimiser.star", "--o", f"./run_ct{before}"]
        subprocess.run(
            [*argv, "--iter", str(before + 1), "--j", "1"], cwd=ours.output_dir, check=True, capture_output=True
        )
    found = [mrcfile.read(ours.output_dir / f"{name}_it003_classes.mrcs") for name in ("run", "run_ct2")]
    alike = [float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in zip(*found, strict=True)]
    assert min(alike) > 0.98
    assert (ours.output_dir / "run_ct3_it004_classes.mrcs").is_file()


def test_the_published_command_comes_out_in_its_order(star: Path, tmp_path: Path) -> None:
    asked = _request(
        star, tmp_path / "out", number_of_classes=200, iterations=25, particle_diameter_angstrom=360, tau2_fudge=2,
        psi_step_degrees=6, offset_range_px=5, offset_step_px=2,
    )  # fmt: skip
    words = " ".join(RelionRunner().plan(asked).argv)
    published = (
        "--ctf --iter 25 --tau2_fudge 2 --particle_diameter 360 --K 200 --zero_mask --oversampling 1 --psi_step 6 "
        "--offset_range 5 --offset_step 2 --norm --scale"
    )
    assert published in words


def test_relion_is_not_given_a_stack_it_would_take_for_one_reference(star: Path, tmp_path: Path) -> None:
    _references(star.parent)
    asked = _request(star, tmp_path / "out", star.parent / "refs.mrcs", number_of_classes=3)
    with pytest.raises(InputError, match="needs a STAR file"):
        RelionRunner().plan(asked)


def _nan(star: Path) -> Path | None:
    with mrcfile.open(star.parent / "particles.mrcs", "r+") as stack:
        stack.data[COUNT - 5, 3, 3] = np.nan
    return None


def _too_few(star: Path) -> Path | None:
    write_stack(star.parent / "few.mrcs", np.zeros((2, BOX, BOX), dtype=np.float32), PIXEL)
    return star.parent / "few.mrcs"


def _wrong_box(star: Path) -> Path | None:
    write_stack(star.parent / "small.mrcs", np.zeros((4, 24, 24), dtype=np.float32), PIXEL)
    return star.parent / "small.mrcs"


@pytest.mark.parametrize(
    ("damage", "words"),
    [(_nan, "NaN or infinite pixels"), (_too_few, "2 references for 4 classes"), (_wrong_box, "not of the box 32")],
    ids=["nan", "too-few-references", "wrong-box"],
)
def test_bad_input_is_one_sentence_and_exit_code_2(star: Path, tmp_path: Path, damage: Any, words: str) -> None:
    done = _run(_request(star, tmp_path / "out", damage(star), iterations=1))
    assert done.returncode == 2
    assert words in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_more_classes_than_particles_and_a_missing_diameter_are_refused(star: Path, tmp_path: Path) -> None:
    done = _run(_request(star, tmp_path / "out", number_of_classes=COUNT + 1))
    assert done.returncode == 2 and "cannot start 151 classes" in done.stderr
    done = _run(_request(star, tmp_path / "out"), particle_diameter_angstrom=None)
    assert done.returncode == 2 and "particle_diameter_angstrom is not given" in done.stderr
