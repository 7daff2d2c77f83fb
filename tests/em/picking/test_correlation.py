"""The locally normalised correlation against the plain definition, place by place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cryorepro.em.errors import InputError
from cryorepro.em.picking.correlation import best_of, make_field, normalised
from cryorepro.em.picking.micrograph import Band, prepare


def disc(side: int, radius: float) -> torch.Tensor:
    y, x = np.indices((side, side)) - side // 2
    return torch.from_numpy((np.hypot(x, y) <= radius).astype(np.float32))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(24, 50),
    columns=st.integers(24, 50),
    side=st.sampled_from([7, 9, 11]),
    gain=st.floats(0.1, 50.0),
    offset=st.floats(-100.0, 100.0),
)
def test_every_coefficient_is_that_of_the_part_under_the_support(
    seed: int, rows: int, columns: int, side: int, gain: float, offset: float
) -> None:
    rng = np.random.default_rng(seed)
    image, template = rng.standard_normal((rows, columns)), rng.standard_normal((side, side))
    support = disc(side, side // 2)
    inside = support.numpy() > 0
    # float64: an offset far above the contrast costs float32 digits, and shows what is left of a template's mean
    templates = normalised(torch.from_numpy(template[None]), support.double())
    shown = torch.from_numpy(gain * image + offset)
    field = make_field(shown, torch.ones(rows, columns, dtype=torch.bool), support.double())
    found = field.correlate(templates)[0].numpy()
    half = side // 2
    for y, x in rng.integers(half, [rows - half, columns - half], size=(6, 2)):
        part = image[y - half : y + half + 1, x - half : x + half + 1]
        assert found[y, x] == pytest.approx(np.corrcoef(part[inside], template[inside])[0, 1], abs=1e-5)
        assert field.variance[y, x] == pytest.approx(gain**2 * part[inside].var(), rel=1e-4)


def test_a_template_outside_or_on_unusable_pixels_is_judged_by_what_is_left() -> None:
    rng = np.random.default_rng(3)
    template = np.exp(-((np.indices((15, 15)) - 7) ** 2).sum(axis=0) / 18.0)
    image = 0.05 * rng.standard_normal((60, 60))
    for y, x in ((30, 30), (2, 40)):
        for j in range(-7, 8):
            for i in range(-7, 8):
                if 0 <= y + j < 60:
                    image[y + j, x + i] += template[j + 7, i + 7]
    usable = np.ones((60, 60), dtype=bool)
    usable[28:33, 20:30] = False
    image[~usable] = 1e4  # must not matter
    support = disc(15, 7)
    field = make_field(torch.from_numpy(image).float(), torch.from_numpy(usable), support)
    value, _ = best_of(field, [normalised(torch.from_numpy(template[None]).float(), support)])
    assert value[30, 30] > 0.7
    assert value[2, 40] > 0.7
    cover = field.coverage.numpy()
    assert cover[45, 15] == pytest.approx(1.0, abs=1e-4)
    y, x = np.indices((15, 15)) - 7
    assert cover[2, 40] == pytest.approx(((np.hypot(x, y) <= 7) & (y >= -2)).sum() / float(support.sum()), abs=1e-4)


@pytest.mark.parametrize(("pixel", "size"), [(1.0, (512, 600)), (1.5, (700, 501)), (5.5, (300, 300))])
def test_white_noise_has_local_power_one_at_any_pixel_size(pixel: float, size: tuple[int, int]) -> None:
    noise = torch.from_numpy(40.0 + 7.0 * np.random.default_rng(5).standard_normal(size))
    prepared = prepare(noise, pixel, Band(6.0, 20.0))
    assert prepared.noise_known
    assert float(prepared.image.var()) == pytest.approx(1.0, rel=0.12)
    assert prepared.scale[0] == pytest.approx(size[1] / prepared.image.shape[1])


def test_the_coarse_image_shows_the_same_waves_at_the_same_places_with_dark_as_bright() -> None:
    rng = np.random.default_rng(1)
    waves = [(rng.integers(4, 20), rng.integers(4, 20), rng.uniform(0, 6.28)) for _ in range(40)]

    def drawn(rows: int, columns: int) -> np.ndarray:
        y, x = np.indices((rows, columns)).astype(np.float64)
        return np.asarray(sum(np.cos(2 * np.pi * (k * x / columns + m * y / rows) + p) for k, m, p in waves))

    prepared = prepare(torch.from_numpy(drawn(480, 640)), 2.0, Band(8.0, 20.0))
    wanted = -drawn(*prepared.image.shape)
    assert np.corrcoef(prepared.image.numpy().ravel(), wanted.ravel())[0, 1] > 0.995


@pytest.mark.parametrize(
    ("image", "band", "words"),
    [
        (np.zeros((200, 200)), Band(8.0, 20.0), "flat"),
        (np.eye(40), Band(8.0, 20.0), "too small"),
        (np.eye(400), Band(8.0, 12.0), "needs finer pixels"),
    ],
    ids=["flat", "small", "coarse"],
)
def test_what_cannot_be_picked_is_refused(image: np.ndarray, band: Band, words: str) -> None:
    with pytest.raises(InputError, match=words):
        prepare(torch.from_numpy(image), 2.0, band)
