"""Masks in refinement: what is accepted, what they do to maps, and the FSC within them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import write_map
from cryorepro.em.half_sets import half_map_fsc, solvent_corrected_fsc
from cryorepro.em.masks import soft_sphere
from cryorepro.em.refine_state import RefineOptions, flattened
from cryorepro.em.solvent_mask import read_solvent_mask

BOX = 48
C1 = torch.eye(3, dtype=torch.float64)[None]
OPTIONS = RefineOptions(100.0, C1)


def _noise(seed: int) -> torch.Tensor:
    return torch.randn(BOX, BOX, BOX, generator=torch.Generator().manual_seed(seed))


def _small_mask() -> torch.Tensor:
    return soft_sphere(BOX, 7.0, 1.0)


def test_a_mask_adds_no_correlation_to_noise_once_corrected() -> None:
    """Strong common shells leak into the next ones through a narrow mask; with random phases they do as well."""
    shared = torch.fft.fftn(_noise(3))
    axis = torch.fft.fftfreq(BOX, 1.0 / BOX)
    radius = (axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None] ** 2).sqrt()
    maps = []
    for seed in (1, 2):
        own = torch.fft.fftn(_noise(seed))
        maps.append(torch.fft.ifftn(torch.where(radius <= 4, 20.0 * shared + 0.2 * own, own)).real)
    masked = half_map_fsc(maps[0] * _small_mask(), maps[1] * _small_mask(), 20)
    corrected = solvent_corrected_fsc(maps[0], maps[1], _small_mask(), 20, np.random.default_rng(0))
    assert float(masked[6:9].mean()) > 0.3, "the mask spreads the common shells"
    assert abs(float(corrected[8:20].mean())) < 0.1
    assert float(corrected[2:4].min()) > 0.9 and corrected[0] == 1.0
    assert corrected[21:].abs().max() == 0.0


def test_a_mask_brings_out_signal_that_noise_around_it_hides() -> None:
    signal = torch.zeros(BOX, BOX, BOX)
    signal[20:28, 20:28, 20:28] = 2.0 * torch.randn(8, 8, 8, generator=torch.Generator().manual_seed(5))
    maps = [signal + 0.7 * _noise(seed) for seed in (1, 2)]
    mask = soft_sphere(BOX, 10.0, 4.0)
    plain = half_map_fsc(maps[0], maps[1], 20)
    corrected = solvent_corrected_fsc(maps[0], maps[1], mask, 20, np.random.default_rng(0))
    assert float(corrected[5:20].mean()) > float(plain[5:20].mean()) + 0.2


def test_halves_that_agree_everywhere_need_no_correction() -> None:
    same = _noise(1)
    curve = solvent_corrected_fsc(same, same, _small_mask(), BOX // 2, np.random.default_rng(0))
    torch.testing.assert_close(curve, torch.ones(BOX // 2 + 1, dtype=torch.float64))


def test_the_given_mask_takes_the_place_of_the_sphere() -> None:
    volume, mask = _noise(1) + 3.0, _small_mask()
    torch.testing.assert_close(flattened(volume, 30.0, replace(OPTIONS, solvent_mask=mask)), volume * mask)
    sphere = flattened(volume, 30.0, OPTIONS)
    assert float(sphere[0, 0, 0]) == pytest.approx(3.0, abs=0.05), "the solvent's mean is kept"
    torch.testing.assert_close(flattened(volume, 30.0, replace(OPTIONS, flatten_solvent=False)), volume)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m * 2.0, "values from 0 to 1"),
        (lambda m: m - 0.5, "values from 0 to 1"),
        (lambda m: m * 0.0, "zero everywhere"),
        (lambda m: m[:32, :32, :32], "does not fit"),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path: Path, change: object, words: str) -> None:
    assert callable(change)
    write_map(tmp_path / "mask.mrc", np.ascontiguousarray(change(_small_mask().numpy())), 3.0)
    with pytest.raises(InputError, match=words) as caught:
        read_solvent_mask(tmp_path / "mask.mrc", BOX, 3.0)
    assert "mask.mrc" in str(caught.value)


def test_a_mask_of_another_pixel_size_is_refused_and_rounding_is_not(tmp_path: Path) -> None:
    write_map(tmp_path / "mask.mrc", _small_mask().numpy() * 1.00001, 3.0)
    with pytest.raises(InputError, match="A per pixel"):
        read_solvent_mask(tmp_path / "mask.mrc", BOX, 4.0)
    assert float(read_solvent_mask(tmp_path / "mask.mrc", BOX, 3.0).max()) == 1.0
