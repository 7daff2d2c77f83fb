"""CTF estimation on a device that only pretends to be a GPU: the same fit, to the bit."""

from __future__ import annotations

import logging
from dataclasses import astuple

import numpy as np
import pytest
import torch

from cryorepro.em import ctf_estimation_spectrum
from cryorepro.em.ctf_estimation import CtfSettings, estimate_ctf
from cryorepro.em.ctf_estimation_search import Optics, SearchRange
from cryorepro.em.ctf_estimation_spectrum import FourierPixels, TileSpectra, tile_spectra
from tests.em.devices.pretend import GPU, Marked, pretend_gpu
from tests.em.thon_rings import ABERRATION, CONTRAST, PIXEL, VOLTAGE, thon_rings


def _settings() -> CtfSettings:
    searched = SearchRange(9000.0, 20000.0, expected_astigmatism_angstrom=800.0)
    return CtfSettings(Optics(VOLTAGE, ABERRATION, CONTRAST), PIXEL, tile_px=256, searched=searched)


def _micrograph() -> torch.Tensor:
    image = thon_rings(np.random.default_rng(4), 14_000.0, 13_000.0, 30.0, size=768)
    image[:300, :300] = 0.0  # a flat tile
    return torch.from_numpy(image)


def test_a_micrograph_is_fitted_on_the_device_and_the_fit_has_the_bits_of_the_cpu() -> None:
    image, settings = _micrograph(), _settings()
    here = estimate_ctf(image, settings)
    with pretend_gpu() as device:
        there = estimate_ctf(image.to(GPU), settings)
    assert device.operations > 1000
    assert here.plane is not None
    assert here.defocus.mean_angstrom == pytest.approx(13_500.0, abs=200.0)
    assert (here.defocus, here.quality, here.faults) == (there.defocus, there.quality, there.faults)
    # the library's least squares differ in a last bit with the place in memory of what they are given
    assert there.plane is not None
    assert astuple(here.plane) == pytest.approx(astuple(there.plane), rel=1e-9)


def test_spectra_stay_on_the_device_and_centres_come_back() -> None:
    image, pixels = _micrograph(), _settings().pixels()
    here = tile_spectra(image, pixels)
    with pretend_gpu():
        there = tile_spectra(image.to(GPU), pixels.to(GPU))
        assert isinstance(there.power, Marked) and not isinstance(there.centres, Marked)
        assert torch.equal(here.power, there.power.cpu())
    assert torch.equal(here.centres, there.centres)


def test_spectra_that_lack_memory_are_made_of_fewer_tiles_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    image, pixels = _micrograph(), _settings().pixels()
    plain, inner, asked = tile_spectra(image, pixels), ctf_estimation_spectrum._in_batches, []

    def short_of_memory(image: torch.Tensor, pixels: FourierPixels, batch: int) -> TileSpectra:
        asked.append(batch)
        if batch > 3:
            raise torch.OutOfMemoryError("no memory")
        return inner(image, pixels, batch)

    monkeypatch.setattr(ctf_estimation_spectrum, "_in_batches", short_of_memory)
    with caplog.at_level(logging.WARNING), pretend_gpu():
        again = tile_spectra(image.to(GPU), pixels.to(GPU)).power.cpu()
    assert asked[0] == 256 and asked[-1] == 2
    assert "once more, with 2 tiles at once" in caplog.text
    assert torch.allclose(plain.power, again, rtol=1e-4)
