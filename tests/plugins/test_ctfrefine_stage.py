"""CTF refinement through both runners on the same files: planned, run as processes, judged by the same rules."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryorepro_engines.runner import RelionLikeRunner
from cryorepro_relion.runner import RelionRunner

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map, write_map
from cryorepro.em.formats.optics import odd_zernike
from cryorepro.em.formats.particles import read_particles, write_particles
from cryorepro.em.formats.stacks import ParticleStack
from cryorepro.em.maskcreate import spherical_mask
from cryorepro.model.processing_stages import KNOWN_PARAMETERS
from cryorepro.model.stage import StageFailure, StageRequest, StageResult
from tests.em.aberrated import aberrated_set

RUNNERS: dict[str, type[RelionLikeRunner] | type[RelionRunner]] = {
    "relion-like": RelionLikeRunner,
    "relion": RelionRunner,
}
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
TILT = (0.6, 0.4)
OPTIONS = {"lowest_resolution_angstrom": 15.0}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Particles whose table knows nothing of their beam tilt and has one defocus off by 200 A for all."""
    home = tmp_path_factory.mktemp("set")
    truth = aberrated_set(count=80, micrographs=2, snr=0.2, tilt_mrad=TILT)
    truth.write(home, truth.views.defocus + np.array([200.0, 200.0, 0.0]))
    volume, pixel = read_map(home / "truth.mrc")
    stream = np.random.default_rng(2)
    for number in (1, 2):
        noisy = volume + stream.normal(0, volume.std(), volume.shape)
        write_map(home / f"half{number}.mrc", noisy.astype(np.float32), pixel)
    write_map(home / "mask.mrc", spherical_mask(64, 24.0, 5.0), pixel)
    argv = ["relion_postprocess", "--i", "half1.mrc", "--i2", "half2.mrc", "--mask", "mask.mrc", "--angpix", str(pixel)]
    subprocess.run([*argv, "--o", "postprocess", "--adhoc_bfac", "0"], cwd=home, capture_output=True, check=False)
    roles = ("half1", "half2", "mask")
    return {"particles": home / "particles.star", "postprocess": home / "postprocess.star"} | {
        role: home / f"{role}.mrc" for role in roles
    }


def asked(inputs: dict[str, Path], output: Path, **parameters: Any) -> StageRequest:
    complete = KNOWN_PARAMETERS["ctfrefine"].model_validate(OPTIONS | parameters).model_dump()
    return StageRequest(stage="ctf", kind="ctfrefine", parameters=complete, inputs=inputs, output_dir=output, seed=5)


def started(runner: str, request: StageRequest) -> subprocess.CompletedProcess[bytes]:
    planned = RUNNERS[runner]().plan(request)
    request.output_dir.mkdir(parents=True)
    log = request.output_dir / "log.txt"
    environment = ENVIRONMENT | planned.environment
    with log.open("wb") as stream:
        return subprocess.run(planned.argv, cwd=planned.cwd, env=environment, stdout=stream, stderr=stream, check=False)


def carried_out(runner: str, request: StageRequest) -> StageResult:
    assert started(runner, request).returncode == 0, (request.output_dir / "log.txt").read_text()
    return RUNNERS[runner]().collect(request, request.output_dir / "log.txt")


def test_both_programs_agree_on_the_same_files(files: dict[str, Path], tmp_path: Path) -> None:
    found = {name: carried_out(name, asked(files, tmp_path / name)) for name in RUNNERS}
    for name, result in found.items():
        assert result.rows == {"particles": 80} and set(result.outputs) == {"particles"}
        assert result.numbers["defocus_change_rms_angstrom"] == pytest.approx(200.0, rel=0.1), name
        for axis, true in zip("xy", TILT, strict=True):
            assert result.numbers[f"beam_tilt_{axis}_mrad"] == pytest.approx(true, abs=0.1), name
        # the table stands alone: its stacks are found from where it lies
        assert len(ParticleStack.open(read_particles(tmp_path / name / "particles_ctf_refine.star"))) == 80


def test_both_programs_write_the_same_trefoil_and_ours_corrects_it(files: dict[str, Path], tmp_path: Path) -> None:
    """RELION tells its convention: order and sign of rlnOddZernike are those it writes for the same images."""
    truth = aberrated_set(count=80, micrographs=2, snr=0.5, tilt_mrad=TILT, trefoil=(30.0, -20.0))
    truth.write(tmp_path, truth.views.defocus)
    inputs = files | {"particles": tmp_path / "particles.star"}
    fixed = {"defocus": False, "astigmatism": False, "trefoil": True}
    found = {}
    for name in RUNNERS:
        carried_out(name, asked(inputs, tmp_path / name, **fixed))
        group = read_particles(tmp_path / name / "particles_ctf_refine.star").optics[0]
        found[name] = np.array(odd_zernike(group))
        assert (group.beam_tilt_x_mrad, group.beam_tilt_y_mrad) == pytest.approx(TILT, abs=0.05), name
    for name, values in found.items():
        assert values.shape == (6,) and values[2] == pytest.approx(20.0, abs=3.0), (name, values)
        assert values[5] == pytest.approx(-30.0, abs=3.0), (name, values)
    # a table that states what RELION found leaves nothing to find
    again = {"particles": tmp_path / "relion" / "particles_ctf_refine.star"}
    carried_out("relion-like", asked(inputs | again, tmp_path / "again", **fixed))
    rest = np.array(odd_zernike(read_particles(tmp_path / "again" / "particles_ctf_refine.star").optics[0]))
    np.testing.assert_allclose(rest, found["relion-like"], atol=2.0)


def test_half_maps_are_taken_from_the_post_processing_and_one_map_will_do(
    files: dict[str, Path], tmp_path: Path
) -> None:
    named = {role: files[role] for role in ("particles", "postprocess")}
    by_name = carried_out("relion-like", asked(named, tmp_path / "named", beam_tilt=False))
    one = {"particles": files["particles"], "map": files["half1"]}
    by_one = carried_out("relion-like", asked(one, tmp_path / "one", beam_tilt=False))
    for result in (by_name, by_one):
        assert result.numbers["defocus_change_rms_angstrom"] == pytest.approx(200.0, rel=0.15)
        assert result.numbers["beam_tilt_x_mrad"] == 0.0


def test_a_table_of_other_particles_is_not_believed(files: dict[str, Path], tmp_path: Path) -> None:
    request = asked(files, tmp_path / "job", astigmatism=False)
    carried_out("relion-like", request)
    path = request.output_dir / "particles_ctf_refine.star"
    good = read_particles(path)
    for wrong, words in ((good.subset(np.arange(40)), "40 particles"), (good.subset([0] * 80), "not those")):
        write_particles(path, wrong)
        with pytest.raises(StageFailure, match=words):
            RelionLikeRunner().collect(request, request.output_dir / "log.txt")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"defocus": False, "astigmatism": False, "beam_tilt": False}, "nothing is to be fitted"),
        ({"lowest_resolution_angstrom": 2.5}, "no signal beyond"),
    ],
)
def test_requests_without_sense_are_one_sentence(
    files: dict[str, Path], tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    request = asked(files, tmp_path / "job", **change)
    assert started("relion-like", request).returncode == 2
    said = (request.output_dir / "log.txt").read_text().strip()
    assert words in said and len(said.splitlines()) == 1


def test_relion_is_asked_in_its_own_words(files: dict[str, Path], tmp_path: Path) -> None:
    def words(**parameters: Any) -> list[str]:
        return RelionRunner().plan(asked(files, tmp_path, **parameters)).argv

    assert words()[words().index("--fit_mode") + 1] == "fpmff" and "--fit_beamtilt" in words()
    assert words(astigmatism=False)[words().index("--fit_mode") + 1] == "fpfff"
    assert "--fit_beamtilt" not in words(beam_tilt=False)
    assert words(trefoil=True)[words(trefoil=True).index("--odd_aberr_max_n") + 1] == "3"
    assert "--fit_defocus" not in words(defocus=False, astigmatism=False)
    known = subprocess.run(["relion_ctf_refine", "--help"], capture_output=True, text=True, check=False).stdout
    assert all(f" {word} " in known for word in words() if word.startswith("--")), words()
    with pytest.raises(InputError, match="neither"):
        inputs = {role: path for role, path in files.items() if role != "half2"}
        RelionRunner().plan(asked(inputs, tmp_path))
