"""Real apoferritin particles, classified from the stack alone, give averages that are apoferritin."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np

from benchmarks.engine.class2d_apoferritin import (
    PIXEL_SIZE_ANGSTROM,
    classify,
    likeness,
    model_volume,
    montage,
    without_poses,
)
from tests.em.real_data import real_data


def test_the_largest_classes_are_projections_of_the_model(tmp_path: Path) -> None:
    data = real_data("apoferritin_EMPIAR-10146")
    star = without_poses(data / "particles_64px_3.0A.star", tmp_path, 400)
    averages, members = classify(star, tmp_path / "job", classes=4, iterations=7, threads=1)
    montage(averages, members, tmp_path / "classes.png")
    assert (tmp_path / "classes.png").stat().st_size > 1000
    volume = model_volume(data.parent / "models" / "4v1w.cif", averages.shape[1])
    found = sorted(likeness(averages, members, volume, PIXEL_SIZE_ANGSTROM), key=lambda part: -part.particles)
    assert found[0].particles > 100
    assert found[0].model > 0.7
    # what single images and chance reach: averages without the particle stay far below
    images = np.asarray(mrcfile.read(data / "particles_64px_3.0A.mrcs")[:20], dtype=np.float64)
    raw = likeness(images, np.ones(20, dtype=np.int64), volume, PIXEL_SIZE_ANGSTROM)
    assert found[0].model > np.median([part.model for part in raw]) + 0.15
