"""CTF refinement: its series against the plain likelihood, known errors undone, and no worse than the real RELION."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from cryorepro.em.conventions import electron_wavelength_angstrom
from cryorepro.em.ctf import ctf_phase
from cryorepro.em.ctf_refine import CtfRefined, CtfRefineOptions, refine_ctf
from cryorepro.em.ctf_refine_data import Observed, Observer
from cryorepro.em.ctf_refine_defocus import Scan, fit_astigmatism, fit_defocus
from cryorepro.em.ctf_refine_inputs import micrographs_of, open_posed_particles, read_references_of
from cryorepro.em.ctf_refine_optics import Optics
from cryorepro.em.ctf_refine_plane import ring
from cryorepro.em.ctf_refine_sums import TermSums, common_overlap, pixel_sums
from cryorepro.em.ctf_refine_tilt import fit_tilt, tilt_basis
from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map, write_map
from cryorepro.em.formats.particles import Particles, read_particles
from cryorepro.em.fourier import half_plane, image_coefficients
from cryorepro.em.maskcreate import spherical_mask
from cryorepro.em.particle_images import open_particle_images
from cryorepro.em.projection import Projector
from cryorepro.em.rotations import euler_to_matrix
from tests.em.aberrated import AberratedSet, aberrated_set

TILT = (0.5, -0.35)
BOX, PIXEL = 64, 1.5
PLANE = ring(BOX, PIXEL, 1, 30)
WAVELENGTH = electron_wavelength_angstrom(300.0)
RATES, TERM_RATES = PLANE.rates(WAVELENGTH), PLANE.term_rates(WAVELENGTH)


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
    loaded = open_posed_particles(files.home / "particles.star")
    inputs = {role: files.home / f"{role}.mrc" for role in ("half1", "half2")}
    references = read_references_of(inputs, loaded, np.random.default_rng(1))
    observer = Observer(loaded, references, (7, references.last_shell))
    found = refine_ctf(observer, micrographs_of(loaded.particles), 1, CtfRefineOptions(**options), workers)
    return found, np.stack(found.optics.columns(), axis=1)


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
    loaded = open_posed_particles(star)
    references = read_references_of({"map": tmp_path / "truth.mrc"}, loaded, np.random.default_rng(1))
    observer = Observer(loaded, references, (7, 31))
    options = CtfRefineOptions(defocus=False, astigmatism=False)
    found = refine_ctf(observer, micrographs_of(loaded.particles), 1, options)
    fit = found.tilts[0]
    assert fit is not None
    assert abs(fit.x_mrad) < 4 * fit.error_x_mrad + 0.01 and abs(fit.y_mrad) < 4 * fit.error_y_mrad + 0.01
    np.testing.assert_array_equal(found.optics.defocus_angstrom, loaded.optics.defocus_angstrom)


def test_what_is_not_fitted_stays(files: Files) -> None:
    only_defocus, table = refined(files, astigmatism=False, beam_tilt=False)
    assert only_defocus.tilts == [None]
    np.testing.assert_allclose(table[:, 0] - table[:, 1], files.wrong[:, 0] - files.wrong[:, 1], atol=1e-6)
    _, table = refined(files, defocus=False, beam_tilt=False)
    np.testing.assert_allclose(table[:, :2].mean(axis=1), files.wrong[:, :2].mean(axis=1), atol=1e-6)


def test_the_same_bits_on_any_number_of_threads(files: Files, ours: tuple[CtfRefined, np.ndarray]) -> None:
    again, table = refined(files, workers=2)
    np.testing.assert_array_equal(table, ours[1])
    assert again.tilts == ours[0].tilts


def plain_score(power: np.ndarray, cross: np.ndarray, phase: np.ndarray) -> np.ndarray:
    transfer = np.sin(phase)
    return np.asarray((0.5 * power * transfer**2 - cross * transfer).sum(axis=-1))


def problem(particles: int = 3, mean: float = 11_000.0) -> tuple[Observed, Optics, np.ndarray]:
    """Powers and overlaps of particles whose true CTF is off, their stated CTFs, and the phases ``[b, n]`` of these."""
    generator = np.random.default_rng(3)
    shape = (particles, len(PLANE))
    zeros = np.zeros(particles)
    defocus = np.array([mean, 0.0, 0.0]) + np.zeros((particles, 3))
    optics = Optics(defocus, zeros + 300.0, zeros, zeros + 0.3)
    phase = 0.3 + defocus @ RATES
    power = generator.random(shape)
    true = np.sin(phase + np.array([300.0, 80.0, -120.0]) @ RATES)
    cross = power * true + 0.3 * generator.normal(size=shape)
    real, none, squared = (np.ascontiguousarray(part.T, dtype=np.float32) for part in (cross, np.zeros(shape), power))
    return Observed(real, none, squared, np.zeros(BOX // 2 + 1)), optics, phase


def test_the_defocus_found_is_the_minimum_of_the_plain_likelihood() -> None:
    seen, optics, phase = problem()
    sums = TermSums.of(seen, optics, PLANE)
    fit = fit_defocus(sums.double, sums.single, TERM_RATES, Scan(TERM_RATES, 1000.0))
    fine = np.linspace(-1000, 1000, 4001)
    for row in range(3):
        scores = plain_score(seen.power[:, row], seen.real[:, row], phase[row] + fine[:, None] * RATES[0])
        assert abs(fit.change[row] - fine[scores.argmin()]) < 0.5


def test_the_astigmatism_found_is_a_minimum_of_the_plain_likelihood() -> None:
    seen, optics, phase = problem()
    moved = optics.changed(np.array([300.0, 0.0, 0.0]))
    change = fit_astigmatism(*pixel_sums(seen, moved, PLANE), RATES, Scan(RATES[1:], 500.0))
    np.testing.assert_allclose(change, [0.0, 80.0, -120.0], atol=12.0)

    def score(of: np.ndarray) -> float:
        return float(plain_score(seen.power.T, seen.real.T, phase + RATES[0] * 300.0 + of @ RATES).sum())

    best = score(change)
    for step in np.eye(3):
        assert min(score(change + 2.0 * step), score(change - 2.0 * step)) > best


def test_a_defocus_beyond_the_range_is_left_and_told() -> None:
    seen, optics, _ = problem()
    sums = TermSums.of(seen, optics, PLANE)
    fit = fit_defocus(sums.double, sums.single, TERM_RATES, Scan(TERM_RATES, 100.0))
    assert fit.at_limit.all() and (fit.change == 0).all()


@pytest.mark.parametrize("astigmatism", ["common", "own"])
def test_sums_over_particles_and_pixels_are_the_plain_ones(astigmatism: str) -> None:
    """Particles of one micrograph may state one astigmatism or each its own."""
    seen, optics, _ = problem()
    generator = np.random.default_rng(8)
    own = generator.normal(0.0, 200.0, (3 if astigmatism == "own" else 1, 3)) * np.array([0.0, 1.0, 1.0])
    optics = optics.changed(own)
    seen = Observed(seen.real, generator.normal(size=seen.real.shape).astype(np.float32), seen.power, seen.shell_power)
    turn = np.exp(1j * (0.3 + optics.defocus_angstrom @ RATES)).T
    double, single = pixel_sums(seen, optics, PLANE)
    np.testing.assert_allclose(double, (seen.power * turn**2).sum(axis=1), atol=1e-4)
    np.testing.assert_allclose(single, (seen.real * turn).sum(axis=1), atol=1e-4)
    overlap = ((seen.real + 1j * seen.imaginary) * turn.imag).sum(axis=1)
    np.testing.assert_allclose(common_overlap(seen, optics, PLANE), overlap, atol=1e-4)
    sums = TermSums.of(seen, optics, PLANE)
    for term in (0, len(PLANE.square) // 2, len(PLANE.square) - 1):
        pixels = PLANE.kx**2 + PLANE.ky**2 == PLANE.square[term]
        np.testing.assert_allclose(sums.single[term], (seen.real * turn)[pixels].sum(axis=0), atol=1e-4)
        np.testing.assert_allclose(sums.double[term], (seen.power * turn**2)[pixels].sum(axis=0), atol=1e-4)
    shells, transfer = sums.by_shell(seen, PLANE), turn.imag
    shell = np.floor(np.hypot(PLANE.kx, PLANE.ky) + 0.5).astype(int)
    expected = np.bincount(shell, weights=(seen.power * transfer**2).sum(axis=1), minlength=len(shells.power))
    np.testing.assert_allclose(shells.power, expected, atol=1e-3)
    np.testing.assert_array_equal(shells.pixels, 3 * np.bincount(shell, minlength=len(shells.pixels)))


def test_phases_are_those_of_the_engines(files: Files) -> None:
    star = files.home / "particles.star"
    ours, theirs = open_posed_particles(star).optics, open_particle_images(star).images.ctf
    kx, ky = (torch.from_numpy(k) for k in (PLANE.kx, PLANE.ky))
    expected = ctf_phase(theirs, kx, ky, BOX, PIXEL).numpy()
    first = np.arange(40)
    base, astigmatic = (turn(PLANE) for turn in (ours.turns_by_term, ours.turns_of_astigmatism))
    per_pixel = np.repeat(base[0] + 1j * base[1], PLANE.term_pixels, axis=0)
    turned = per_pixel * (astigmatic[0] + 1j * astigmatic[1])
    np.testing.assert_allclose(turned.T[first], np.exp(1j * expected[first]), atol=2e-6)


def test_particles_are_observed_as_the_engines_see_them(files: Files) -> None:
    """The torch transforms and projections of the other stages are the reference."""
    star = files.home / "particles.star"
    loaded, theirs = open_posed_particles(star), open_particle_images(star)
    references = read_references_of({role: files.home / f"{role}.mrc" for role in ("half1", "half2")}, loaded,
                                    np.random.default_rng(1))  # fmt: skip
    observer = Observer(loaded, references, (5, 28))
    index = np.arange(3, 90, 7)
    seen, poses = observer.observe(index), theirs.start_poses().select(torch.from_numpy(index))
    plane = half_plane(BOX, 28)
    kept = (plane.shell >= 5).numpy()
    spectra = image_coefficients(theirs.images.read(torch.from_numpy(index)), plane)
    spectra *= plane.phase_ramps(poses.origin_px)
    maps = [Projector(torch.from_numpy(volume), 28) for volume in references.maps]
    matrices = euler_to_matrix(poses.euler_deg)
    both = torch.stack([one.slices(matrices, plane) for one in maps])
    projected = both[torch.from_numpy(references.map_of[index]), torch.arange(len(index))]
    cross = (spectra * projected.conj()).numpy()[:, kept]
    place = {pixel: row for row, pixel in enumerate(zip(observer.plane.kx, observer.plane.ky, strict=True))}
    rows = [place[pixel] for pixel in zip(plane.kx.numpy()[kept], plane.ky.numpy()[kept], strict=True)]
    assert len(rows) == len(observer.plane)
    found = (seen.real + 1j * seen.imaginary)[rows].T
    np.testing.assert_allclose(found, cross, atol=1e-5 * np.abs(cross).max())
    np.testing.assert_allclose(seen.power[rows].T, projected.abs().square().numpy()[:, kept], rtol=1e-3, atol=1e-9)
    shells = torch.zeros(BOX // 2 + 1).double().index_add_(0, plane.shell, spectra.abs().double().square().sum(dim=0))
    np.testing.assert_allclose(seen.shell_power[5:], shells.numpy()[5:], rtol=1e-5)


def test_tilts_are_told_from_shifts() -> None:
    basis = tilt_basis(PLANE, 300.0, 2.7)
    truth = np.array([1.4, -0.8, 0.3, 0.2])
    fit, phase = fit_tilt(np.exp(-1j * (truth @ basis)), basis)
    assert fit.x_mrad == pytest.approx(1.4, abs=1e-6) and fit.y_mrad == pytest.approx(-0.8, abs=1e-6)
    np.testing.assert_allclose(phase, truth @ basis, atol=1e-9)


def test_changes_of_astigmatism_add_as_vectors(files: Files) -> None:
    particles = read_particles(files.home / "particles.star")
    there = Optics.of(particles).changed(np.array([50.0, 90.0, -70.0]))
    u, v, _ = there.columns()
    np.testing.assert_allclose(u + v, table_defocus(particles)[:, :2].sum(axis=1) + 100.0)
    back = np.stack(there.changed(np.array([-50.0, -90.0, 70.0])).columns(), axis=1)
    vectors = [(d[:, 0] - d[:, 1]) * np.exp(2j * np.deg2rad(d[:, 2])) for d in (back, table_defocus(particles))]
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-9)
    np.testing.assert_allclose(back[:, :2].sum(axis=1), table_defocus(particles)[:, :2].sum(axis=1))


def test_inputs_that_do_not_fit_are_named(files: Files) -> None:
    loaded = open_posed_particles(files.home / "particles.star")
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
    assert sorted(np.concatenate([where.index for where in found]).tolist()) == list(range(160))
    for where in found:
        assert len(set(particles.column("rlnMicrographName")[where.index])) == 1
    nameless = particles.without_columns(["rlnMicrographName"])
    with pytest.raises(InputError, match="rlnMicrographName"):
        micrographs_of(nameless)
    assert sum(len(where.index) for where in micrographs_of(nameless, astigmatism=False)) == 160


def test_chunks_of_images_and_what_is_kept_of_them_change_nothing(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, table = refined(files)
    monkeypatch.setattr("cryorepro.em.ctf_refine_data._KEPT_BYTES", 0)
    monkeypatch.setattr("cryorepro.em.ctf_refine_data._IMAGES_PER_CHUNK", 9)
    monkeypatch.setattr("cryorepro.em.ctf_refine_slices._VALUES", 1 << 16)
    _, again = refined(files)
    np.testing.assert_allclose(again, table, atol=0.05)


def test_the_program_never_loads_torch(files: Files) -> None:
    """It would take more CPU time than a thousand particles."""
    modules = "cryorepro.em.ctf_refine, cryorepro.em.ctf_refine_inputs, cryorepro_engines.programs.ctfrefine"
    asked = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0
