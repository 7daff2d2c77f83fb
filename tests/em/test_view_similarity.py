"""Similarity of class averages to named views: turned and shifted copies match, other particles do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from cryorepro.em.blobs import BlobModel, euler_matrices
from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import write_map, write_stack
from cryorepro.em.phantom import ribosome
from cryorepro.em.view_similarity import similarity_to_views

BOX, PIXEL = 48, 10.0
ANGLES = np.array([[0.0, 0.0, 0.0], [40.0, 90.0, 0.0], [130.0, 60.0, 0.0], [250.0, 120.0, 0.0]])


def _images(model: BlobModel, angles: np.ndarray) -> np.ndarray:
    transforms = model.project(euler_matrices(angles), BOX, PIXEL)
    return np.asarray(np.fft.irfft2(transforms, s=(BOX, BOX)), dtype=np.float32)


def _noisy(images: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(images.shape).astype(np.float32)
    return np.asarray(images + 0.2 * images.std() * noise)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """views.mrcs of a ribosome; averages.mrcs: two of them turned and shifted, then noise alone."""
    path = tmp_path_factory.mktemp("views")
    views = _images(ribosome(1)[0], ANGLES)
    turned = [ndimage.rotate(views[2], 73.0, reshape=False, order=3), np.roll(views[1], (2, -3), axis=(0, 1))]
    noise = ndimage.gaussian_filter(np.random.default_rng(2).standard_normal((BOX, BOX)), 3.0)
    write_stack(path / "views.mrcs", views, PIXEL)
    write_stack(path / "averages.mrcs", np.concatenate([_noisy(np.array(turned), 1), noise[None]]), PIXEL)
    write_map(path / "map.mrc", ribosome(1)[0].volume(BOX, PIXEL), PIXEL)
    return path


def test_turned_and_shifted_views_are_recognised_and_named(folder: Path) -> None:
    found = similarity_to_views(folder / "averages.mrcs", folder / "views.mrcs", 40.0)
    assert found.views[:2].tolist() == [3, 2]
    assert found.values[:2].min() > 0.9 and found.values[2] < 0.75


def test_a_map_is_projected_from_all_sides(folder: Path) -> None:
    found = similarity_to_views(folder / "averages.mrcs", folder / "map.mrc", 40.0)
    assert found.values[:2].min() > 0.85 and found.values[2] < found.values[:2].min() - 0.1


def test_a_flat_average_is_like_nothing(folder: Path, tmp_path: Path) -> None:
    write_stack(tmp_path / "flat.mrcs", np.stack([np.zeros((BOX, BOX)), _images(ribosome(1)[0], ANGLES[:1])[0]]), PIXEL)
    found = similarity_to_views(tmp_path / "flat.mrcs", folder / "views.mrcs", 40.0)
    assert abs(found.values[0]) < 0.05 and found.values[1] > 0.95


def test_views_of_another_box_or_pixel_size_are_refused(folder: Path, tmp_path: Path) -> None:
    write_stack(tmp_path / "small.mrcs", np.zeros((2, 32, 32)), PIXEL)
    write_stack(tmp_path / "fine.mrcs", np.zeros((2, BOX, BOX)), 3.0)
    with pytest.raises(InputError, match="32 pixels, the class averages have 48"):
        similarity_to_views(folder / "averages.mrcs", tmp_path / "small.mrcs", 40.0)
    with pytest.raises(InputError, match="pixels of 3 Angstrom"):
        similarity_to_views(folder / "averages.mrcs", tmp_path / "fine.mrcs", 40.0)
