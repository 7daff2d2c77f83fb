"""Where a micrograph shows something else than particles in ice: large areas far from its usual brightness or texture.

Two features are followed at the scale of a particle: the mean, and the logarithm of the variance. From each a plane is
taken out (ice gets thicker slowly), and what is left is held against how much neighbouring areas usually differ: an
edge of carbon or a ball of ice is many times that away from the micrograph's middle, whatever share of it is covered.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

Floats = NDArray[np.float64]
LIMITS = {"mean": 10.0, "variance": 10.0}
"""How far an area may be from the middle, in usual differences of neighbouring areas."""
_ROUNDS, _REACH = 10, 3.0
_LEAST_AREA_PER_PARTICLE = 3.0
_GROWTH_PER_DIAMETER = 0.5
_NORMAL_MAD = 0.6745


def usable_pixels(image: Tensor, pixel_size_angstrom: float, diameter_angstrom: float) -> NDArray[np.bool_]:
    """Pixels ``[rows, columns]`` of a prepared image that can hold particles.

    Areas smaller than three particles are left in: single dark specks have their own local power. What is masked is
    grown by half a diameter.
    """
    values = image.detach().cpu().numpy().astype(np.float64)
    step = diameter_angstrom / pixel_size_angstrom
    bad = np.zeros(values.shape, dtype=bool)
    for name, feature in features(values, step).items():
        bad |= np.abs(standardised(feature, step)) > LIMITS[name]
    return ~_large_areas(bad, step)


def features(values: Floats, step: float) -> dict[str, Floats]:
    """Mean and log variance under a Gaussian whose full width is a particle's diameter."""
    sigma = 0.5 * step
    mean = np.asarray(ndimage.gaussian_filter(values, sigma, mode="nearest"))
    detail = values - ndimage.gaussian_filter(values, 0.5 * sigma, mode="nearest")
    variance = ndimage.gaussian_filter(detail**2, sigma, mode="nearest")
    return {"mean": mean, "variance": np.log(np.maximum(variance, 1e-12))}


def standardised(feature: Floats, step: float) -> Floats:
    """Distance of a feature from its plane, in usual differences of areas two diameters apart."""
    apart = max(1, round(2.0 * step))
    spread = [
        np.abs(feature[apart:] - feature[:-apart]).ravel(),
        np.abs(feature[:, apart:] - feature[:, :-apart]).ravel(),
    ]
    typical = max(float(np.median(np.concatenate(spread))) / (_NORMAL_MAD * 2.0**0.5), 1e-9)
    return np.asarray((feature - _plane(feature, typical)) / typical)


def _plane(feature: Floats, typical: float) -> Floats:
    """A plane through the usual pixels, grown from the commonest value: what is far from it so far has no weight."""
    y, x = np.asarray(np.indices(feature.shape), dtype=np.float64)
    some = (slice(None, None, 4), slice(None, None, 4))
    wanted = feature[some].ravel()
    design = np.stack([np.ones_like(wanted), x[some].ravel(), y[some].ravel()], axis=1)
    fitted: Floats = np.array([_commonest(wanted), 0.0, 0.0])
    for _ in range(_ROUNDS):
        root = np.exp(-0.25 * ((wanted - design @ fitted) / (_REACH * typical)) ** 2)
        fitted = np.asarray(np.linalg.lstsq(design * root[:, None], wanted * root, rcond=None)[0])
    return np.asarray(fitted[0] + fitted[1] * x + fitted[2] * y)


def _commonest(values: Floats) -> float:
    """The mode, by halving the interval that is shortest for its share of values (Bickel & Fruehwirth 2006)."""
    ordered = np.sort(values)
    while len(ordered) > 3:
        half = (len(ordered) + 1) // 2
        start = int(np.argmin(ordered[half - 1 :] - ordered[: len(ordered) - half + 1]))
        ordered = ordered[start : start + half]
    return float(np.mean(ordered))


def _large_areas(bad: NDArray[np.bool_], step: float) -> NDArray[np.bool_]:
    labels, count = ndimage.label(bad)
    if count == 0:
        return bad
    area = np.bincount(labels.ravel())
    area[0] = 0
    wanted: NDArray[np.bool_] = np.greater_equal(area, _LEAST_AREA_PER_PARTICLE * np.pi / 4.0 * step**2)
    large: NDArray[np.bool_] = np.asarray(wanted[np.asarray(labels)], dtype=np.bool_)
    if not large.any():
        return large
    return np.asarray(ndimage.distance_transform_edt(~large) <= _GROWTH_PER_DIAMETER * step)
