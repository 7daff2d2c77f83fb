"""CTF estimation against micrographs whose CTF is known, and against an independent fit of real ones."""

from __future__ import annotations

import csv
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cryorepro.em.ctf_estimation import CtfFit, CtfSettings, estimate_ctf
from cryorepro.em.ctf_estimation_search import Optics, SearchRange
from cryorepro.em.errors import InputError
from cryorepro.em.reextraction import read_micrograph
from tests.em.thon_rings import ABERRATION, CONTRAST, PIXEL, VOLTAGE, Floats, thon_rings

OPTICS = Optics(VOLTAGE, ABERRATION, CONTRAST)
REAL = "apoferritin_EMPIAR-10146"


def fitted(image: Floats, **searched: float | bool) -> CtfFit:
    plan = CtfSettings(OPTICS, PIXEL, searched=SearchRange(**searched))  # type: ignore[arg-type]
    return estimate_ctf(torch.from_numpy(image), plan)


def turned_by(found: float, true: float) -> float:
    """Angle between two axes in degrees, at most 90."""
    return abs((found - true + 90.0) % 180.0 - 90.0)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    mean=st.floats(7000.0, 40000.0),
    difference=st.floats(250.0, 3000.0),
    angle=st.floats(0.0, 179.9),
    seed=st.integers(0, 2**31),
)
def test_any_defocus_and_astigmatism_is_found(mean: float, difference: float, angle: float, seed: int) -> None:
    image = thon_rings(np.random.default_rng(seed), mean + difference / 2, mean - difference / 2, angle)
    found = fitted(image)
    assert found.defocus.mean_angstrom == pytest.approx(mean, abs=75.0)
    assert found.defocus.defocus_u_angstrom == pytest.approx(mean + difference / 2, abs=150.0)
    assert found.defocus.defocus_v_angstrom == pytest.approx(mean - difference / 2, abs=150.0)
    assert turned_by(found.defocus.angle_deg, angle) < 1000.0 / difference + 5.0
    assert found.faults == []


def test_a_phase_plate_is_found_with_the_defocus() -> None:
    image = thon_rings(np.random.default_rng(4), 12000.0, 11500.0, 30.0, phase_shift_deg=70.0)
    found = fitted(image, phase_shift=True)
    assert found.defocus.phase_shift_deg == pytest.approx(70.0, abs=8.0)
    assert found.defocus.mean_angstrom == pytest.approx(11750.0, abs=150.0)


def test_rings_that_are_cut_off_end_there() -> None:
    def cut(fx: Floats, fy: Floats) -> Floats:
        return np.asarray(np.hypot(fx, fy) < 1.0 / 8.0, dtype=np.float64)

    rng = np.random.default_rng(5)
    far = fitted(thon_rings(rng, 20000.0, 19000.0, 40.0, noise=0.5))
    near = fitted(thon_rings(rng, 20000.0, 19000.0, 40.0, noise=0.5, along=cut))
    assert near.quality.resolution_angstrom == pytest.approx(8.0, rel=0.12)
    assert far.quality.resolution_angstrom < 4.5


def test_an_image_blurred_along_one_direction_shows_it() -> None:
    def drift(fx: Floats, fy: Floats) -> Floats:
        return np.asarray(np.sinc(14.0 * (fx + 0.2 * fy)))

    rng = np.random.default_rng(6)
    still = fitted(thon_rings(rng, 15000.0, 14800.0, 0.0))
    moved = fitted(thon_rings(rng, 15000.0, 14800.0, 0.0, along=drift))
    assert moved.quality.anisotropy > still.quality.anisotropy + 0.4
    assert still.faults == []
    assert "drift" in moved.faults


def test_an_ice_ring_is_measured_and_named() -> None:
    rng = np.random.default_rng(7)
    image = thon_rings(rng, 15000.0, 14800.0, 0.0)
    fy, fx = np.fft.fftfreq(1024, PIXEL)[:, None], np.fft.rfftfreq(1024, PIXEL)[None]
    ring = 1.0 + 2.0 * np.exp(-0.5 * ((np.hypot(fx, fy) - 1.0 / 3.67) / 0.004) ** 2)
    icy = np.fft.irfft2(np.fft.rfft2(image) * ring, s=image.shape)
    assert fitted(image).quality.ice_ring_log_power == pytest.approx(0.0, abs=0.05)
    found = fitted(icy)
    assert found.quality.ice_ring_log_power > 0.5
    assert found.faults == ["ice"]
    assert found.defocus.mean_angstrom == pytest.approx(14900.0, abs=75.0)


def test_noise_without_rings_is_unusable() -> None:
    noise = np.random.default_rng(8).standard_normal((1024, 1024))
    assert "no-rings" in fitted(noise).faults


@pytest.mark.parametrize("true", [0.0, 2500.0, 60000.0])
def test_a_defocus_beyond_the_range_is_not_believed(true: float) -> None:
    found = fitted(thon_rings(np.random.default_rng(10), true, true, 0.0))
    assert found.faults
    assert 5000.0 <= found.defocus.mean_angstrom <= 50000.0


def test_a_tilted_field_is_found_as_a_plane() -> None:
    rng = np.random.default_rng(9)
    low, high = (thon_rings(rng, d, d - 300.0, 20.0, size=1536, noise=0.3) for d in (18000.0, 19200.0))
    image = np.concatenate([low[:, :768], high[:, 768:]], axis=1)  # a step across x
    plane = fitted(image).plane
    assert plane is not None
    assert plane.centre_angstrom == pytest.approx(18450.0, abs=100.0)
    assert 0.6 < plane.gradient_x_angstrom_per_px < 1.8
    assert abs(plane.gradient_y_angstrom_per_px) < 0.25


@pytest.mark.parametrize(
    ("image", "words"), [(np.zeros((600, 600)), "flat"), (np.zeros((100, 600)), "smaller than a tile")]
)
def test_what_cannot_be_fitted_is_refused(image: Floats, words: str) -> None:
    with pytest.raises(InputError, match=words):
        fitted(image)


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be fitted"):
        fitted(np.ones((600, 600)), lowest_defocus_angstrom=9000.0, highest_defocus_angstrom=8000.0)


def test_real_micrographs_agree_with_an_independent_fit(real_data: Path) -> None:
    with (real_data / REAL / "ctf_fit.csv").open() as stream:
        published = {row["micrograph"]: row for row in csv.DictReader(stream)}
    plan = CtfSettings(Optics(300.0, 2.7, 0.07), 1.5)
    unusable, seen = [], 0
    for path in sorted((real_data / REAL / "micrographs_avg").glob("*.png")):
        image = torch.from_numpy(imagecodecs.png_decode(path.read_bytes()).astype(np.float64))
        found = estimate_ctf(image, plan)
        if found.faults:
            unusable.append(path.name)
            continue
        row, seen = published[path.name], seen + 1
        mean = 0.5 * (float(row["defocus_u_A"]) + float(row["defocus_v_A"]))
        assert found.defocus.mean_angstrom == pytest.approx(mean, abs=300.0), path.name
        if float(row["defocus_u_A"]) - float(row["defocus_v_A"]) > 400.0:
            assert turned_by(found.defocus.angle_deg, float(row["astig_angle_deg"])) < 10.0, path.name
        assert found.quality.resolution_angstrom < 6.0, path.name
    assert unusable == ["May08_06.09.02.bin_avg.png"]
    assert seen == 9


@pytest.mark.parametrize("pixel_size_angstrom", [1.0, 4.9], ids=["as-its-header-says", "as-binned-four-times"])
def test_a_real_micrograph_under_an_ice_ball_is_unusable(real_data: Path, pixel_size_angstrom: float) -> None:
    image = read_micrograph(real_data / "micrograph_bad_ice" / "Ucsf_stack_1142_DW.mrc")
    found = estimate_ctf(torch.from_numpy(image), CtfSettings(OPTICS, pixel_size_angstrom))
    assert "no-rings" in found.faults
