"""A 2D classification from nothing: how many of the views that images show get a class of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cryorepro.em.class2d import Class2DJob, classify_2d, subset
from cryorepro.em.class2d_start import start_2d
from cryorepro.em.class2d_state import Class2DSettings
from cryorepro.em.particle_images import open_particle_images
from tests.em.simulated import write_set
from tests.em.views import ViewSet, view_set

CLASSES, VIEWS = 16, 8


def _found(seen: ViewSet, star: Path, seed: int, early: int) -> tuple[int, float]:
    """Views that are commonest in a class of six or more, and the share of particles that show their class's view."""
    loaded = open_particle_images(star, correct_ctf=True)
    settings = Class2DSettings(
        particle_diameter_angstrom=320.0, number_of_classes=CLASSES, iterations=10, tau2_fudge=2.0,
        psi_step_degrees=12.0, offset_range_px=4.0, offset_step_px=2.0, zero_mask=True, norm=True, scale=True,
        early_iterations=early,
    )  # fmt: skip
    job = Class2DJob(loaded.images, settings, seed)
    *_, last = classify_2d(job, start_2d(job, loaded.start_poses()))
    table = np.zeros((CLASSES, VIEWS), dtype=np.int64)
    np.add.at(table, (last.poses.class_index.numpy(), seen.which), 1)
    large = table[table.sum(axis=1) > 5]
    return len(set(large.argmax(axis=1).tolist())), float(table.max(axis=1).sum() / table.sum())


@pytest.mark.parametrize("seed", [1, 3])
def test_views_part_when_classes_count_alike_and_shifts_stay_small_at_first(seed: int, tmp_path: Path) -> None:
    seen = view_set(250, VIEWS, 48, 10.0, 0.4)
    star = write_set(seen.data, tmp_path)
    views, purity = _found(seen, star, seed, Class2DSettings(320.0).early_iterations)
    plain_views, plain_purity = _found(seen, star, seed, 0)
    assert views >= 7 and views > plain_views
    assert purity > plain_purity + 0.1


@pytest.mark.parametrize(
    ("count", "sizes"), [(700, (100, 300, 300, 700)), (1500, (100, 300, 450, 1500)), (90, (90, 90, 90, 90))]
)
def test_subsets_have_the_sizes_that_relion_uses(count: int, sizes: tuple[int, ...]) -> None:
    """Counted in RELION 3.1.3's tables of 20 iterations with one class; the 90 by its rule."""
    seen = view_set(count, 1, 16, 28.0, 1.0)
    settings = Class2DSettings(320.0, iterations=20, fast_subsets=True)
    job = Class2DJob(seen.data.image_set(), settings, 1)
    for number, size in zip((5, 6, 11, 16), sizes, strict=True):
        chosen = subset(job, number)
        assert (count if chosen is None else len(set(chosen.tolist()))) == size
