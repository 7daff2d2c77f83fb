"""What the relion runner refuses before anything is started, in one sentence that names the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from cryorepro_relion.runner import RelionRunner

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import write_map
from tests.plugins.relion_set import BOX, PIXEL_SIZE, request, write_set


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return write_set(tmp_path, particles=6)


def refused(home: Path, kind: str = "class3d", **changes: Any) -> str:
    with pytest.raises(InputError) as caught:
        RelionRunner().plan(request(home, home.parent / "job", kind, **changes))
    message = str(caught.value)
    assert "\n" not in message and not (home.parent / "job").exists()
    return message


def test_a_truncated_stack(home: Path) -> None:
    stack = home / "images.mrcs"
    with stack.open("r+b") as stream:
        stream.truncate(stack.stat().st_size - 1)
    assert "images.mrcs" in (message := refused(home)) and "truncated" in message


def test_a_missing_stack(home: Path) -> None:
    (home / "images.mrcs").unlink()
    assert "images.mrcs" in (message := refused(home)) and "does not exist" in message


def test_more_particles_than_images(home: Path) -> None:
    star = home / "particles.star"
    star.write_text(star.read_text().replace("000006@", "000007@"))
    assert "image 7" in refused(home)


def test_half_precision_stacks(home: Path) -> None:
    images = mrcfile.read(home / "images.mrcs").astype(np.float16)
    with mrcfile.new(home / "images.mrcs", overwrite=True) as out:
        out.set_data(images)
        out.voxel_size = PIXEL_SIZE
    assert "half-precision" in refused(home)


@pytest.mark.parametrize(
    ("box", "pixel_size", "says"),
    [(BOX, PIXEL_SIZE + 0.002, "pixel size is 6.002"), (BOX + 2, PIXEL_SIZE, "34 x 34 x 34")],
)
def test_a_reference_that_does_not_fit(home: Path, box: int, pixel_size: float, says: str) -> None:
    write_map(home / "reference.mrc", np.ones((box, box, box)), pixel_size)
    assert says in refused(home)
    assert says in refused(home, "refine3d")


def test_a_mask_that_does_not_fit(home: Path) -> None:
    write_map(home / "mask.mrc", np.ones((16, 16, 16)), PIXEL_SIZE)
    inputs = {
        "particles": home / "particles.star",
        "reference": home / "reference.mrc",
        "mask": home / "mask.mrc",
    }
    assert "mask.mrc" in refused(home, inputs=inputs)
    halves = dict.fromkeys(("half1", "half2"), home / "reference.mrc") | {"mask": home / "mask.mrc"}
    assert "mask.mrc" in refused(home, "postprocess", inputs=halves)


def test_references_in_another_number_than_classes(home: Path) -> None:
    (home / "references.star").write_text("\ndata_\n\nloop_\n_rlnReferenceImage #1\nreference.mrc\n\n")
    inputs = {"particles": home / "particles.star", "reference": home / "references.star"}
    assert "1 maps for 2 classes" in refused(home, inputs=inputs)


def test_missing_and_unknown_inputs(home: Path) -> None:
    particles, reference = home / "particles.star", home / "reference.mrc"
    assert "inputs.reference is not given" in refused(home, inputs={"particles": particles})
    both = {"particles": particles, "reference": reference}
    assert "inputs.half1" in refused(home, inputs=both | {"half1": reference})
    halves = dict.fromkeys(("half1", "half2"), reference)
    assert "inputs.mask is not given" in refused(home, "postprocess", inputs=halves)
    assert "nowhere.mrc does not exist" in refused(home, inputs=both | {"reference": home / "nowhere.mrc"})


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_that_cannot_hold_two_halves(home: Path, ranks: int) -> None:
    assert f"mpi_ranks is {ranks}" in refused(home, "refine3d", mpi_ranks=ranks)


def test_poses_used_or_ignored_against_what_was_said(home: Path) -> None:
    assert "rlnAngleRot is missing" in refused(home, "refine3d", use_input_poses=True, healpix_order=4)
    assert "local searches" in refused(home, "refine3d", healpix_order=4)


def test_a_directory_that_holds_another_job(home: Path) -> None:
    job = home.parent / "job"
    job.mkdir()
    (job / "run_it004_data.star").write_text("data_\n")
    with pytest.raises(InputError, match="already holds iterations"):
        RelionRunner().plan(request(home, job))


def test_planning_writes_nothing(home: Path) -> None:
    before = sorted(home.parent.rglob("*"))
    for kind in ("class3d", "refine3d"):
        RelionRunner().plan(request(home, home.parent / "job", kind))
    assert sorted(home.parent.rglob("*")) == before
