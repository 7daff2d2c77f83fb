"""CTF refinement: its series against the plain likelihood, known errors undone, and no worse than the real RELION."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from cryorepro.em.ctf import CtfParameters
from cryorepro.em.ctf_refine import CtfRefined, CtfRefineOptions, changed, refine_ctf
from cryorepro.em.ctf_refine_data import Observer
from cryorepro.em.ctf_refine_defocus import fit_astigmatism, fit_defocus, harmonics, phase_per_angstrom
from cryorepro.em.ctf_refine_inputs import micrographs_of, read_references_of
from cryorepro.em.ctf_refine_tilt import fit_tilt, tilt_basis
from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map, write_map
from cryorepro.em.formats.particles import Particles, read_particles
from cryorepro.em.fourier import half_plane
from cryorepro.em.maskcreate import spherical_mask
from cryorepro.em.particle_images import open_particle_images
from tests.em.aberrated import AberratedSet, aberrated_set

TILT = (0.5, -0.35)
BOX, PIXEL = 64, 1.5
PLANE = half_plane(BOX, 30)
RATES = phase_per_angstrom(PLANE, 0.019687, PIXEL)


@dataclass(frozen=True)
class Files:
    """A set on disk whose table has the wrong defocus and no tilt."""

    truth: AberratedSet
    wrong: np.ndarray
    home: Path

    def errors(self, defocus: np.ndarray) -> tuple[float, float]:
        """Root mean square errors in Angstrom of the mean defocus, and of the astigmatism as a vector."""
        true = self.truth.views.defocus
        mean = (defocus[:, :2] - true[:, :2]).mean(axis=1)
        vectors = [(d[:, 0] - d[:, 1]) * np.exp(2j * np.deg2rad(d[:, 2])) for d in (defocus, true)]
        return float(np.sqrt((mean**2).mean())), float(np.sqrt((np.abs(vectors[0] - vectors[1]) ** 2).mean()))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    home = tmp_path_factory.mktemp("set")
    truth = aberrated_set(count=160, micrographs=4, snr=0.1, tilt_mrad=TILT)
    stream = np.random.default_rng(4)
    true, place = truth.views.defocus, truth.micrograph
    mean = true[:, :2].mean(axis=1) + stream.normal(0, 250, len(true))
    size = (true[:, 0] - true[:, 1]) + stream.normal(0, 150, 4)[place]
    angle = true[:, 2] + stream.normal(0, 12, 4)[place]
    wrong = np.stack([mean + size / 2, mean - size / 2, angle], axis=1)
    truth.write(home, wrong)
    volume, _ = read_map(home / "truth.mrc")
    for number in (1, 2):
        noisy = volume + stream.normal(0, 1.0 * volume.std(), volume.shape)
        write_map(home / f"half{number}.mrc", noisy.astype(np.float32), PIXEL)
    write_map(home / "mask.mrc", spherical_mask(BOX, 24.0, 5.0), PIXEL)
    argv = ["relion_postprocess", "--i", "half1.mrc", "--i2", "half2.mrc", "--angpix", str(PIXEL)]
    argv += ["--mask", "mask.mrc", "--o", "postprocess", "--adhoc_bfac", "0"]
    subprocess.run(argv, cwd=home, capture_output=True, check=False)
    return Files(truth, wrong, home)


def table_defocus(particles: Particles) -> np.ndarray:
    return np.stack(
        [particles.defocus_u_angstrom, particles.defocus_v_angstrom, particles.defocus_angle_degrees], axis=1
    )


def refined(files: Files, workers: int = 1, **options: bool) -> tuple[CtfRefined, np.ndarray]:
    loaded = open_particle_images(files.home / "particles.star")
    inputs = {role: files.home / f"{role}.mrc" for role in ("half1", "half2")}
    references = read_references_of(inputs, loaded, np.random.default_rng(1))
    radii = (7, references.last_shell)
    observer = Observer(loaded.images, loaded.start_poses(), references.maps, references.map_of, radii)
    found = refine_ctf(observer, micrographs_of(loaded.particles), 1, CtfRefineOptions(**options), workers)
    ctf = found.ctf
    columns = (ctf.defocus_u_angstrom, ctf.defocus_v_angstrom, ctf.defocus_angle_deg)
    return found, torch.stack(columns, dim=1).numpy()


@pytest.fixture(scope="module")
def ours(files: Files) -> tuple[CtfRefined, np.ndarray]:
    return refined(files)


@pytest.fixture(scope="module")
def theirs(files: Files) -> Particles:
    """RELION fits defocus and astigmatism first, then the tilt at the CTFs found."""
    program = shutil.which("relion_ctf_refine")
    assert program is not None, "the real RELION must be installed for this test"
    fits = {
        "ctf": ["--fit_defocus", "--fit_mode", "fpmff", "--kmin_defocus", "15"],
        "tilt": ["--fit_beamtilt", "--kmin_tilt", "15"],
    }
    table = "particles.star"
    for name, options in fits.items():
        (files.home / name).mkdir()
        argv = [program, "--i", table, "--f", "postprocess.star", "--m1", "half1.mrc", "--m2", "half2.mrc"]
        subprocess.run([*argv, *options, "--o", f"{name}/"], cwd=files.home, capture_output=True, check=True)
        table = f"{name}/particles_ctf_refine.star"
    return read_particles(files.home / table)


def test_defocus_and_astigmatism_are_found_no_worse_than_by_relion(
    files: Files, ours: tuple[CtfRefined, np.ndarray], theirs: Particles
) -> None:
    before = files.errors(files.wrong)
    mine, relion = files.errors(ours[1]), files.errors(table_defocus(theirs))
    assert mine[0] < 0.15 * before[0] and mine[1] < 0.15 * before[1], (before, mine)
    assert mine[0] < 1.1 * relion[0] and mine[1] < 1.2 * relion[1] + 2.0, (mine, relion)
    assert not ours[0].at_limit.any()


def test_the_beam_tilt_is_found_with_relions_sign_and_within_its_error(
    ours: tuple[CtfRefined, np.ndarray], theirs: Particles
) -> None:
    fit = ours[0].tilts[0]
    assert fit is not None
    found, error = np.array([fit.x_mrad, fit.y_mrad]), np.array([fit.error_x_mrad, fit.error_y_mrad])
    assert (error < 0.03).all() and (np.abs(found - TILT) < 4 * error + 0.01).all(), (found, error)
    relion = np.array([theirs.optics[0].beam_tilt_x_mrad, theirs.optics[0].beam_tilt_y_mrad])
    assert np.abs(found - TILT).max() < np.abs(relion - TILT).max() + 2 * error.max(), (found, relion)


def test_a_tilt_already_corrected_is_not_found_again(files: Files, tmp_path: Path) -> None:
    star = files.truth.write(tmp_path, files.truth.views.defocus, TILT)
    loaded = open_particle_images(star)
    references = read_references_of({"map": tmp_path / "truth.mrc"}, loaded, np.random.default_rng(1))
    observer = Observer(loaded.images, loaded.start_poses(), references.maps, references.map_of, (7, 31))
    options = CtfRefineOptions(defocus=False, astigmatism=False)
    found = refine_ctf(observer, micrographs_of(loaded.particles), 1, options)
    fit = found.tilts[0]
    assert fit is not None
    assert abs(fit.x_mrad) < 4 * fit.error_x_mrad + 0.01 and abs(fit.y_mrad) < 4 * fit.error_y_mrad + 0.01
    torch.testing.assert_close(found.ctf.defocus_u_angstrom, loaded.images.ctf.defocus_u_angstrom)


def test_what_is_not_fitted_stays(files: Files) -> None:
    only_defocus, table = refined(files, astigmatism=False, beam_tilt=False)
    assert only_defocus.tilts == [None]
    np.testing.assert_allclose(table[:, 0] - table[:, 1], files.wrong[:, 0] - files.wrong[:, 1], atol=1e-6)
    _, table = refined(files, defocus=False, beam_tilt=False)
    np.testing.assert_allclose(table[:, :2].mean(axis=1), files.wrong[:, :2].mean(axis=1), atol=1e-6)


def test_the_same_bits_on_any_number_of_processes(files: Files, ours: tuple[CtfRefined, np.ndarray]) -> None:
    again, table = refined(files, workers=2)
    np.testing.assert_array_equal(table, ours[1])
    assert again.tilts == ours[0].tilts


def plain_score(power: torch.Tensor, cross: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
    transfer = torch.sin(phase)
    return (0.5 * power * transfer.square() - cross * transfer).sum(dim=-1)


def problem(particles: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Powers and overlaps of particles whose true defocus is 300 A off, and the phases without that."""
    generator = torch.Generator().manual_seed(3)
    shape = (particles, len(PLANE))
    phase = 0.3 + RATES[0] * 11_000.0 + torch.zeros(shape, dtype=torch.float64)
    power = torch.rand(shape, generator=generator, dtype=torch.float64)
    true = torch.sin(phase + RATES[0] * 300.0 + RATES[1] * 80.0 - RATES[2] * 120.0)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    return power, power * true + 0.3 * noise, phase


def test_the_defocus_found_is_the_minimum_of_the_plain_likelihood() -> None:
    power, cross, phase = problem()
    fit = fit_defocus(power, cross, phase, RATES[0], PLANE.kx**2 + PLANE.ky**2, 1000.0)
    fine = torch.linspace(-1000, 1000, 4001, dtype=torch.float64)
    for row in range(3):
        scores = plain_score(power[row], cross[row], phase[row] + fine[:, None] * RATES[0])
        assert abs(float(fit.change[row] - fine[scores.argmin()])) < 0.5


def test_the_astigmatism_found_is_a_minimum_of_the_plain_likelihood() -> None:
    power, cross, phase = problem()
    change = fit_astigmatism(harmonics(power, cross, phase + RATES[0] * 300.0), RATES, 500.0)
    np.testing.assert_allclose(change.numpy(), [0.0, 80.0, -120.0], atol=12.0)
    best = plain_score(power, cross, phase + RATES[0] * 300.0 + change @ RATES).sum()
    for step in torch.eye(3, dtype=torch.float64):
        for sign in (-2.0, 2.0):
            moved = phase + RATES[0] * 300.0 + (change + sign * step) @ RATES
            assert float(plain_score(power, cross, moved).sum()) > float(best)


def test_a_defocus_beyond_the_range_is_left_and_told() -> None:
    power, cross, phase = problem()
    fit = fit_defocus(power, cross, phase, RATES[0], PLANE.kx**2 + PLANE.ky**2, 100.0)
    assert fit.at_limit.all() and (fit.change == 0).all()


def test_tilts_are_told_from_shifts() -> None:
    basis = tilt_basis(PLANE, PIXEL, 300.0, 2.7)
    truth = torch.tensor([1.4, -0.8, 0.3, 0.2], dtype=torch.float64)
    fit, phase = fit_tilt(torch.polar(torch.ones(len(PLANE), dtype=torch.float64), -(truth @ basis)), basis)
    assert fit.x_mrad == pytest.approx(1.4, abs=1e-6) and fit.y_mrad == pytest.approx(-0.8, abs=1e-6)
    torch.testing.assert_close(phase, truth @ basis)


def test_changes_of_astigmatism_add_as_vectors() -> None:
    values = (12_000.0, 11_600.0, 30.0, 0.0, 300.0, 2.7, 0.1)
    optics = CtfParameters(*(torch.tensor([value], dtype=torch.float64) for value in values))
    step = torch.tensor([[50.0, 90.0, -70.0]], dtype=torch.float64)
    there = changed(optics, step)
    back = changed(there, -step)
    assert float(there.defocus_u_angstrom + there.defocus_v_angstrom) == pytest.approx(23_700.0)
    for name in ("defocus_u_angstrom", "defocus_v_angstrom", "defocus_angle_deg"):
        torch.testing.assert_close(getattr(back, name), getattr(optics, name))


def test_inputs_that_do_not_fit_are_named(files: Files) -> None:
    loaded = open_particle_images(files.home / "particles.star")
    stream = np.random.default_rng(1)
    with pytest.raises(InputError, match="half1 and half2, or postprocess, or map"):
        read_references_of({}, loaded, stream)
    table = {"postprocess": files.home / "postprocess.star"}
    named = read_references_of(table, loaded, stream)
    assert len(named.maps) == 2 and 10 < named.last_shell < 32
    write_map(files.home / "other.mrc", np.zeros((32, 32, 32), dtype=np.float32), PIXEL)
    with pytest.raises(InputError, match=r"other\.mrc"):
        read_references_of({"map": files.home / "other.mrc"}, loaded, stream)


def test_micrographs_are_told_apart_by_name_and_optics_group(files: Files) -> None:
    particles = read_particles(files.home / "particles.star")
    found = micrographs_of(particles)
    assert sorted(torch.cat([where.index for where in found]).tolist()) == list(range(160))
    for where in found:
        assert len(set(particles.column("rlnMicrographName")[where.index.numpy()])) == 1
    nameless = particles.without_columns(["rlnMicrographName"])
    with pytest.raises(InputError, match="rlnMicrographName"):
        micrographs_of(nameless)
    assert sum(len(where.index) for where in micrographs_of(nameless, astigmatism=False)) == 160


def test_blocks_of_rows_change_nothing(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    _, table = refined(files)
    monkeypatch.setattr("cryorepro.em.ctf_refine_data._ELEMENTS_PER_BLOCK", 7 * len(PLANE))
    monkeypatch.setattr("cryorepro.em.ctf_refine_data._IMAGES_PER_CHUNK", 9)
    _, again = refined(files)
    np.testing.assert_allclose(again, table, atol=0.05)
