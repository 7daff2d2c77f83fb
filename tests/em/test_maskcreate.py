"""Masks against closed forms and the real relion_mask_create."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryorepro.em.errors import InputError
from cryorepro.em.maskcreate import create_mask, spherical_mask
from tests.em.halves import PIXEL, half_maps, phantom, save


@pytest.mark.parametrize(("extend", "edge", "lowpass"), [(0, 0, None), (2, 4, None), (3, 6, 15.0)])
def test_the_same_mask_as_relion(extend: int, edge: int, lowpass: float | None, tmp_path: Path) -> None:
    program = shutil.which("relion_mask_create")
    assert program is not None, "the real RELION must be installed for this test"
    volume = half_maps()[0]
    save(tmp_path / "in.mrc", volume)
    argv = [program, "--i", "in.mrc", "--o", "mask.mrc", "--ini_threshold", "1.5", "--angpix", str(PIXEL)]
    argv += ["--extend_inimask", str(extend), "--width_soft_edge", str(edge)]
    argv += ["--lowpass", str(lowpass)] if lowpass else []
    subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True)
    theirs = mrcfile.read(tmp_path / "mask.mrc")
    ours = create_mask(volume, PIXEL, 1.5, lowpass, extend, edge)
    assert 0.0 < ours.mean() < 1.0
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_sphere_has_the_volume_of_a_sphere_and_a_cosine_edge() -> None:
    hard = spherical_mask(64, 20.0, 0.0)
    assert hard.sum() == pytest.approx(4 / 3 * np.pi * 20**3, rel=0.01)
    soft = spherical_mask(64, 20.0, 6.0)
    line = soft[32, 32, 32:]
    np.testing.assert_allclose(line[:21], 1.0)
    assert line[23] == pytest.approx(0.5) and line[26] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"threshold": 1e9}, "no voxel"),
        ({"threshold": -1e9}, "every voxel"),
        ({"threshold": 0.5, "extend_px": 100.0}, "whole box"),
        ({"threshold": 0.5, "extend_px": -1.0}, "negative"),
        ({"threshold": 0.5, "lowpass_angstrom": 1.0}, "Nyquist"),
    ],
)
def test_a_mask_without_inside_or_outside_is_refused(options: dict[str, float], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        create_mask(phantom(24), PIXEL, **options)
