"""Simulated images: CTF and noise against closed forms, declared SNR, independent streams."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cryorepro.em.blobs import BlobModel
from cryorepro.em.formats.maps import read_map, write_map, write_stack
from cryorepro.em.simulate import (
    PIXEL_QUANTUM,
    Imaging,
    Views,
    background_mask,
    clean_transforms,
    ctf,
    noise_amplitude,
    signal_scale,
    simulate_images,
)
from cryorepro.em.streams import random_stream

IMAGING = Imaging(64, 4.0, 300.0, 2.7, 0.1, snr=0.5, background_radius_px=24.0)
DEFOCUS = np.array([[21000.0, 19500.0, 35.0], [8000.0, 8400.0, -60.0]])


def views(count: int, shift: tuple[float, float] = (0.0, 0.0), seed: int = 0) -> Views:
    draw = np.random.default_rng(seed)
    return Views(
        np.zeros(count, dtype=np.int64),
        draw.uniform(-180, 180, (count, 3)),
        np.tile(np.array([shift]), (count, 1)),
        np.tile(DEFOCUS[:1], (count, 1)),
    )


def model(seed: int = 1) -> BlobModel:
    draw = np.random.default_rng(seed)
    return BlobModel(draw.normal(0, 25, (40, 3)), draw.uniform(4, 8, 40), draw.uniform(0.5, 1.5, 40))


def test_ctf_at_chosen_points_by_hand() -> None:
    values = ctf(DEFOCUS, IMAGING)
    assert values.shape == (2, 64, 33)
    np.testing.assert_allclose(values[:, 0, 0], 0.1, atol=1e-12)  # amplitude contrast, positive: protein is white
    wavelength = 0.0196875  # Angstrom at 300 kV, CODATA
    for i, (u, v, angle) in enumerate(DEFOCUS):
        for row, column in ((0, 9), (9, 0), (5, 7), (64 - 5, 7)):
            ky, kx = (row if row < 32 else row - 64) / 256.0, column / 256.0
            squared = kx**2 + ky**2
            along = np.cos(np.arctan2(ky, kx) - np.radians(angle)) ** 2
            phase = np.pi * wavelength * squared * (u * along + v * (1 - along))
            phase -= np.pi / 2 * 2.7e7 * wavelength**3 * squared**2
            expected = np.sqrt(1 - 0.1**2) * np.sin(phase) + 0.1 * np.cos(phase)
            assert values[i, row, column] == pytest.approx(expected, abs=2e-4)


def test_ctf_is_the_one_relion_applies(tmp_path: Path) -> None:
    """RELION multiplies the transform of a point by its own CTF; the ratio is the CTF, astigmatism and all."""
    point = np.zeros((1, 64, 64), np.float32)
    point[0, 32, 32] = 1000.0
    write_stack(tmp_path / "p.mrcs", point, 4.0)
    volume = np.zeros((64, 64, 64), np.float32)
    volume[32, 32, 32] = 1000.0
    write_map(tmp_path / "v.mrc", volume, 4.0)
    (tmp_path / "a.star").write_text(
        "\n# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnOpticsGroupName #2\n_rlnVoltage #3\n"
        "_rlnSphericalAberration #4\n_rlnAmplitudeContrast #5\n_rlnImagePixelSize #6\n_rlnImageSize #7\n"
        "_rlnImageDimensionality #8\n1 g 300 2.7 0.1 4.0 64 2\n\n\n# version 30001\n\ndata_particles\n\nloop_\n"
        "_rlnImageName #1\n_rlnOpticsGroup #2\n_rlnDefocusU #3\n_rlnDefocusV #4\n_rlnDefocusAngle #5\n"
        "_rlnAngleRot #6\n_rlnAngleTilt #7\n_rlnAnglePsi #8\n1@p.mrcs 1 21000 19500 35 0 0 0\n\n"
    )
    command = "relion_project --i v.mrc --o out --ctf --ang a.star --angpix 4.0"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    made = next(p for p in tmp_path.iterdir() if re.match(r"out.*\.mrcs?$", p.name))
    image = read_map(made, 4.0)[0][0].astype(np.float64)
    found = np.fft.rfft2(np.fft.ifftshift(image))
    expected = ctf(DEFOCUS[:1], IMAGING)[0]
    inside = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.rfftfreq(64)) < 0.45
    scale = (found.real * expected)[inside].sum() / (expected[inside] ** 2).sum()
    assert scale > 0
    np.testing.assert_allclose(found.real[inside] / scale, expected[inside], atol=0.02)
    assert np.abs(found.imag[inside] / scale).max() < 0.01


def test_shifts_move_the_image_by_pixels() -> None:
    still = np.fft.irfft2(clean_transforms([model()], views(2), IMAGING), s=(64, 64))
    moved = np.fft.irfft2(clean_transforms([model()], views(2, (12.0, -20.0)), IMAGING), s=(64, 64))
    np.testing.assert_allclose(moved, np.roll(still, (-5, 3), axis=(1, 2)), atol=1e-10)  # 4 A per pixel, y then x


def test_noise_has_the_declared_spectrum_and_unit_variance() -> None:
    amplitude = noise_amplitude(IMAGING)
    white = np.fft.rfft2(np.random.default_rng(0).standard_normal((600, 64, 64)))
    noise = np.fft.irfft2(white * amplitude, s=(64, 64))
    assert noise.var() == pytest.approx(1.0, abs=0.01)
    power = (np.abs(np.fft.fft2(noise)) ** 2).mean(axis=0)
    k = np.hypot(np.fft.fftfreq(64, 4.0)[:, None], np.fft.fftfreq(64, 4.0))
    low, high = power[(k > 0) & (k < 1 / 200)].mean(), power[k > 1 / 9].mean()
    assert low / high == pytest.approx(1.0 / 0.4, rel=0.1)


@pytest.mark.parametrize("snr", [0.05, 2.0])
def test_the_declared_snr_is_met(snr: float) -> None:
    imaging = Imaging(64, 4.0, 300.0, 2.7, 0.1, snr=snr)
    part = views(64)
    scale = signal_scale([model()], part, imaging)
    images = scale * np.fft.irfft2(clean_transforms([model()], part, imaging), s=(64, 64))
    assert images.var(axis=(1, 2)).mean() == pytest.approx(snr, rel=1e-4)


def test_images_are_normalised_quantised_and_protein_is_white() -> None:
    stream = random_stream(5, "noise")
    scale = signal_scale([model()], views(70), IMAGING)
    chunks = list(simulate_images([model()], views(70), IMAGING, scale, stream))
    images = np.concatenate(chunks).astype(np.float64)
    assert images.shape == (70, 64, 64) and chunks[0].dtype == np.float32
    outside = images[:, background_mask(64, 24.0)]
    np.testing.assert_allclose(outside.mean(axis=1), 0.0, atol=1e-3)
    np.testing.assert_allclose(outside.std(axis=1), 1.0, atol=1e-3)
    assert images[:, 24:40, 24:40].mean() > 0.05
    np.testing.assert_array_equal(images / PIXEL_QUANTUM, np.round(images / PIXEL_QUANTUM))


def test_streams_are_named_independent_and_fixed() -> None:
    first = random_stream(1, "noise").standard_normal(4000)
    np.testing.assert_array_equal(first, random_stream(1, "noise").standard_normal(4000))
    for other in (random_stream(1, "shifts"), random_stream(2, "noise")):
        assert abs(np.corrcoef(first, other.standard_normal(4000))[0, 1]) < 0.08
