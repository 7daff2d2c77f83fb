"""Blobs and templates against scenes whose particles are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cryorepro.em.ctf import CtfParameters
from cryorepro.em.formats.maps import write_map
from cryorepro.em.picking.image_templates import References, TemplatePlan, project
from cryorepro.em.picking.picks import Picks
from cryorepro.em.picking.references import read_templates
from cryorepro.em.picking.search import PickSettings, pick_blobs, pick_templates
from cryorepro.em.rotations import euler_to_matrix
from tests.em.picking.scenes import DIAMETER, PIXEL, Floats, found_of, places, scene


def blobs(image: Floats, settings: PickSettings, *shapes: str) -> Picks:
    return pick_blobs(torch.from_numpy(image), PIXEL, settings, frozenset(shapes)).picks


@pytest.mark.parametrize(("shape", "number", "hole"), [("circular", 1, 0.0), ("ring", 3, 30.0)])
def test_round_particles_are_found_where_they_are(shape: str, number: int, hole: float) -> None:
    rng = np.random.default_rng(1)
    at = places(rng, 30, (768, 900), 70.0, 40.0)
    picks = blobs(scene(rng, at, hole=hole), PickSettings(100.0, 140.0, lowest_ncc=0.5), shape)
    recall, precision, apart = found_of(at, picks.at_px, 10.0)
    assert recall == 1.0 and precision == 1.0
    assert np.median(apart) * PIXEL < 2.0, "a third of a coarse pixel"
    assert set(picks.classes) == {number}
    assert np.all(np.diff(picks.ncc) <= 0)
    assert np.median(picks.diameter_angstrom) == pytest.approx(DIAMETER, rel=0.12)


def test_ellipses_are_found_with_their_angle() -> None:
    rng = np.random.default_rng(2)
    at = places(rng, 25, (768, 900), 90.0, 45.0)
    angles = rng.uniform(0.0, 180.0, len(at))
    image = scene(rng, at, long=80.0, short=40.0, angles_deg=angles)
    picks = blobs(image, PickSettings(80.0, 160.0, lowest_ncc=0.5, least_distance=120.0), "elliptical")
    rows, columns = np.where(np.hypot(*(at[:, None] - picks.at_px[None]).transpose(2, 0, 1)) < 10.0)
    assert sorted(rows) == list(range(25)) and len(picks) == 25
    turned = np.abs((picks.psi_deg[columns] - angles[rows] + 90.0) % 180.0 - 90.0)
    assert turned.max() < 12.0, "the step of angles is 15 degrees"


def test_distance_border_number_and_contrast_are_kept() -> None:
    rng = np.random.default_rng(3)
    at = places(rng, 30, (768, 900), 64.0, 10.0)
    image = scene(rng, at)
    everything = blobs(image, PickSettings(120.0, 120.0, lowest_ncc=0.1, least_distance=150.0), "circular")
    apart = np.hypot(*(everything.at_px[:, None] - everything.at_px[None]).transpose(2, 0, 1))
    assert apart[~np.eye(len(apart), dtype=bool)].min() * PIXEL >= 145.0, "places between pixels move a little"
    inner = blobs(image, PickSettings(120.0, 120.0, edge=160.0), "circular").at_px * PIXEL
    assert inner.min() >= 157.0 and (inner[:, 0] <= 1798 - 157.0).all() and (inner[:, 1] <= 1534 - 157.0).all()
    best = blobs(image, PickSettings(120.0, 120.0, most=7), "circular")
    assert len(best) == 7
    bright = blobs(-image, PickSettings(120.0, 120.0, most=7, dark_particles=False), "circular")
    np.testing.assert_allclose(bright.at_px, best.at_px, atol=1e-2)


def test_power_tells_a_dark_lump_from_particles_and_the_mask_leaves_it_out() -> None:
    rng = np.random.default_rng(4)
    at = places(rng, 12, (768, 900), 80.0, 45.0)
    image = scene(rng, at[1:]) + scene(rng, at[:1], contrast=8.0, noise=0.0)
    seen = PickSettings(120.0, 120.0, lowest_ncc=0.5, mask_contamination=False)
    picks = blobs(image, seen, "circular")
    lump = np.hypot(*(picks.at_px - at[0]).T) < 10.0
    assert lump.sum() == 1
    assert picks.power[lump] > 5.0 * picks.power[~lump].max()
    left = blobs(image, PickSettings(120.0, 120.0, lowest_ncc=0.5), "circular")
    assert len(left) >= 10 and not (np.hypot(*(left.at_px - at[0]).T) < 10.0).any()


@pytest.mark.parametrize("covered", [0.25, 0.45])
def test_carbon_is_masked_whatever_share_it_covers(covered: float) -> None:
    rng = np.random.default_rng(5)
    at = places(rng, 25, (768, 900), 70.0, 40.0)
    border = int(900 * covered)
    image = scene(rng, at[at[:, 0] > border + 70])
    carbon = scene(rng, places(rng, 40, (768, 900), 20.0, 5.0), long=10.0)
    image[:, :border] = carbon[:, :border] - 60.0
    found = pick_blobs(torch.from_numpy(image), PIXEL, PickSettings(120.0, 120.0), frozenset({"circular"}))
    assert found.masked_share == pytest.approx(covered, abs=0.12)
    assert (found.picks.at_px[:, 0] > border).all()
    recall, _, _ = found_of(at[at[:, 0] > border + 70], found.picks.at_px, 10.0)
    assert recall == 1.0


def test_ice_that_gets_thicker_is_not_contamination() -> None:
    rng = np.random.default_rng(9)
    at = places(rng, 30, (768, 900), 66.0, 40.0)
    thicker = np.linspace(0.0, 150.0, 900)[None] + np.linspace(60.0, 0.0, 768)[:, None]
    image = torch.from_numpy(scene(rng, at) + thicker)
    found = pick_blobs(image, PIXEL, PickSettings(120.0, 120.0, lowest_ncc=0.45), frozenset({"circular"}))
    assert found.masked_share == 0.0
    assert found_of(at, found.picks.at_px, 10.0)[0] == 1.0


def bent(box: int, pixel: float) -> Floats:
    """An image without any symmetry: three discs of different weight."""
    y, x = (np.indices((box, box)) - box // 2) * pixel
    parts = ((-30.0, 0.0, 22.0, 1.0), (25.0, 5.0, 16.0, 1.4), (10.0, 40.0, 12.0, 1.0))
    return np.asarray(sum(w * (np.hypot(x - px, y - py) < r) for px, py, r, w in parts))


def turned(image: Floats, pixel: float, psi_deg: float, at: Floats, size: tuple[int, int]) -> Floats:
    """The drawing at a place, turned as the conventions say: the point v comes from Rz(psi)^T v."""
    y, x = np.indices(size, dtype=np.float64)
    c, s = np.cos(np.radians(psi_deg)), np.sin(np.radians(psi_deg))
    dx, dy = (x - at[0]) * PIXEL, (y - at[1]) * PIXEL
    u, v = np.rint((c * dx - s * dy) / pixel).astype(int), np.rint((s * dx + c * dy) / pixel).astype(int)
    half = image.shape[0] // 2
    inside = (np.abs(u) < half) & (np.abs(v) < half)
    return np.where(inside, image[np.clip(v + half, 0, 2 * half - 1), np.clip(u + half, 0, 2 * half - 1)], 0.0)


def test_templates_are_found_with_class_and_rotation() -> None:
    rng, size = np.random.default_rng(6), (600, 700)
    at = places(rng, 16, size, 85.0, 50.0)
    psi = rng.uniform(0.0, 360.0, len(at))
    kinds = [bent(64, 3.0), bent(64, 3.0)[:, ::-1]]  # the second is the mirror image
    image = 1.5 * rng.standard_normal(size)
    which = rng.integers(1, 3, len(at))
    for place, angle, number in zip(at, psi, which, strict=True):
        image -= turned(kinds[number - 1], 3.0, angle, place, size)
    references = References(torch.from_numpy(np.stack(kinds)), (1, 2), 3.0)
    settings = PickSettings(140.0, 140.0, lowest_ncc=0.5)
    picks = pick_templates(torch.from_numpy(image), PIXEL, settings, references, 8.0, None).picks
    rows, columns = np.where(np.hypot(*(at[:, None] - picks.at_px[None]).transpose(2, 0, 1)) < 8.0)
    assert sorted(rows) == list(range(16)) and len(picks) == 16
    np.testing.assert_array_equal(picks.classes[columns], which[rows])
    error = np.abs((picks.psi_deg[columns] - psi[rows] + 180.0) % 360.0 - 180.0)
    assert error.max() < 8.0 and np.median(error) < 4.0, "the step is 8 degrees"


def test_the_ctf_is_what_makes_a_template_fit() -> None:
    """A strongly defocused image correlates better with the template seen through the same CTF."""
    rng, size, defocus = np.random.default_rng(7), (600, 700), 40_000.0
    at = places(rng, 14, size, 90.0, 50.0)
    image = np.zeros(size)
    for place in at:
        image += turned(bent(64, 3.0), 3.0, 0.0, place, size)
    fy, fx = np.fft.fftfreq(size[0], PIXEL)[:, None], np.fft.rfftfreq(size[1], PIXEL)[None]
    squared, wavelength = fx**2 + fy**2, 0.0196874
    transfer = np.sin(np.pi * wavelength * defocus * squared - 0.5 * np.pi * 2.7e7 * wavelength**3 * squared**2
                      + np.arcsin(0.1))  # fmt: skip
    image = -np.fft.irfft2(np.fft.rfft2(image) * transfer, s=size) + 0.4 * rng.standard_normal(size)
    references = References(torch.from_numpy(bent(64, 3.0)[None]), (1,), 3.0)
    values = (defocus, defocus, 0.0, 0.0, 300.0, 2.7, 0.1)
    ctf = CtfParameters(*(torch.tensor([value], dtype=torch.float64) for value in values))
    settings = PickSettings(140.0, 140.0, lowpass=15.0, lowest_ncc=0.1, most=14)
    seen = {name: pick_templates(torch.from_numpy(image), PIXEL, settings, references, 10.0, given).picks
            for name, given in (("with", ctf), ("without", None))}  # fmt: skip
    assert found_of(at, seen["with"].at_px, 6.0)[0] == 1.0
    assert np.median(seen["with"].ncc) > 1.2 * np.median(seen["without"].ncc)


def test_projections_of_a_map_are_sums_along_the_view(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    volume = np.zeros((24, 24, 24), dtype=np.float32)
    spots = rng.uniform(-6.0, 6.0, (5, 3))  # x, y, z from the origin voxel
    z, y, x = np.indices(volume.shape) - 12
    for sx, sy, sz in spots:
        volume += np.exp(-((x - sx) ** 2 + (y - sy) ** 2 + (z - sz) ** 2) / 4.0).astype(np.float32)
    euler = torch.tensor([[20.0, 50.0, 0.0], [0.0, 0.0, 0.0], [70.0, 130.0, 40.0]], dtype=torch.float64)
    matrices = euler_to_matrix(euler)
    images = project(torch.from_numpy(volume), matrices).numpy()
    v, u = np.indices((24, 24)) - 12
    for image, matrix in zip(images, matrices.numpy(), strict=True):
        seen = spots @ matrix.T
        wanted = sum(np.exp(-((u - sx) ** 2 + (v - sy) ** 2) / 4.0) for sx, sy, _ in seen)
        assert np.corrcoef(image.ravel(), np.asarray(wanted).ravel())[0, 1] > 0.99
    write_map(tmp_path / "map.mrc", volume, 4.0)
    read = read_templates(tmp_path / "map.mrc", selection=None, lowpass_angstrom=20.0, symmetry="C1", healpix_order=1)
    assert len(read.classes) == 48 and read.images.shape[0] == 48
    assert len(TemplatePlan(6.0, 20.0, 80.0, 15.0).psi_deg) == 24
