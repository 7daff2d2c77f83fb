"""Beam tilt: its sign and size against the real RELION, and images from which it was taken."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from cryorepro.em.aberrations import TiltCorrectedSource, coma_phase_per_mrad, without_beam_tilt
from cryorepro.em.errors import InputError
from cryorepro.em.formats.particles import read_particles, write_particles
from cryorepro.em.fsc import fsc_curve
from cryorepro.em.half_sets import unregularised
from cryorepro.em.imageset import ArraySource
from cryorepro.em.particle_images import open_particle_images
from cryorepro.em.pose_reconstruction import sums_from_poses
from tests.em.aberrated import AberratedSet, aberrated_set

TILT = (0.9, -0.6)
OUTER = slice(20, 30)  # shells where the coma exceeds a radian


@pytest.fixture(scope="module")
def tilted() -> AberratedSet:
    return aberrated_set(count=120, snr=5.0, tilt_mrad=TILT)


def relion_map(directory: Path, star: str) -> np.ndarray:
    program = shutil.which("relion_reconstruct")
    assert program is not None, "the real RELION must be installed for this test"
    argv = [program, "--i", star, "--o", "out.mrc", "--ctf"]
    subprocess.run(argv, cwd=directory, check=True, capture_output=True)
    return np.asarray(mrcfile.read(directory / "out.mrc"))


def our_map(star: Path) -> np.ndarray:
    loaded = open_particle_images(star)
    index = torch.arange(len(loaded.images))
    sums = sums_from_poses(loaded.images, loaded.start_poses(), index, 31, torch.eye(3)[None])
    return np.asarray(unregularised([sums], loaded.images.box_px, 31, 2, 1)[0].numpy())


def test_relion_and_ours_undo_the_same_tilt_and_only_with_this_sign(tilted: AberratedSet, tmp_path: Path) -> None:
    truth = tilted.model.volume(64, 1.5)
    agreement = {}
    for name, stated in (("right", TILT), ("none", (0.0, 0.0)), ("wrong", (-TILT[0], -TILT[1]))):
        star = tilted.write(tmp_path, tilted.views.defocus, stated)
        for program, volume in {"relion": relion_map(tmp_path, star.name), "ours": our_map(star)}.items():
            agreement[program, name] = fsc_curve(volume, truth)[OUTER].mean()
    for program in ("relion", "ours"):
        assert agreement[program, "right"] > 0.7, agreement
        assert agreement[program, "none"] < 0.8 * agreement[program, "right"], agreement
        assert agreement[program, "wrong"] < 0.3 * agreement[program, "right"], agreement


def test_the_phase_is_the_closed_form() -> None:
    """Cs 2.7 mm, 300 kV, 1 mrad at 3 A: 2 pi 2.7e7 0.019687^2 1e-3 / 27 rad."""
    along_x, along_y = coma_phase_per_mrad(np.array([1 / 3, 0.0]), np.array([0.0, -1 / 3]), 300.0, 2.7)
    expected = 2 * np.pi * 2.7e7 * 0.019687**2 * 1e-3 / 27
    np.testing.assert_allclose(along_x, [expected, 0.0], rtol=1e-4)
    np.testing.assert_allclose(along_y, [0.0, -expected], rtol=1e-4)


def test_each_image_is_corrected_by_its_own_group(tilted: AberratedSet) -> None:
    still = aberrated_set(count=120, snr=5.0)
    table = tilted.particles(tilted.views.defocus, TILT)
    source = without_beam_tilt(ArraySource(tilted.images), table, 64)
    assert isinstance(source, TiltCorrectedSource)
    # the same noise was drawn for both sets, but its transform is turned by the correction
    corrected = source.read(np.array([7, 3]))
    raw = tilted.images[[7, 3]]
    wanted = still.images[[7, 3]]
    for image, before, target in zip(corrected, raw, wanted, strict=True):
        assert np.corrcoef(image.ravel(), target.ravel())[0, 1] > np.corrcoef(before.ravel(), target.ravel())[0, 1]
    plain = without_beam_tilt(ArraySource(tilted.images), table.subset(np.arange(4)), 64)
    assert plain is not source
    upright = tilted.particles(tilted.views.defocus)
    source = ArraySource(tilted.images)
    assert without_beam_tilt(source, upright, 64) is source


def test_what_is_not_modelled_is_refused_when_images_are_opened(tilted: AberratedSet, tmp_path: Path) -> None:
    star = tilted.write(tmp_path, tilted.views.defocus)
    helical = read_particles(star).with_columns(rlnHelicalTubeID=np.ones(120, dtype=np.int64))
    write_particles(star, helical)
    with pytest.raises(InputError, match="helical"):
        open_particle_images(star)
