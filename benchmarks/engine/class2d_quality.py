"""How good a 2D classification is, against the truth of simulated views."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryorepro.em.formats.particles import read_particles
from tests.em.views import ViewSet, adjusted_rand, purity

LEAST_MEMBERS = 10
_STEP_DEGREES = 3.0


@dataclass(frozen=True)
class Quality:
    """Figures of one classification.

    Attributes:
        purity: share of particles that show the commonest view of their class.
        adjusted_rand: agreement of classes with views, 0 by chance.
        classes_in_use: classes with at least ten particles; ``views_found`` the views that are commonest in one.
        mean_frc: FRC of class averages with the true projection of their view, mean over shells out to two thirds
            of Nyquist and over particles.
    """

    purity: float
    adjusted_rand: float
    classes_in_use: int
    views_found: int
    mean_frc: float


def quality(directory: Path, iteration: int, seen: ViewSet) -> Quality:
    """The figures after an iteration of a job that either program wrote."""
    table = read_particles(directory / f"run_it{iteration:03d}_data.star")
    found = table.columns["rlnClassNumber"] - 1
    true = seen.which[[int(name.partition("@")[0]) - 1 for name in table.image_names]]
    averages = np.asarray(mrcfile.read(directory / f"run_it{iteration:03d}_classes.mrcs"), dtype=np.float64)
    members = np.bincount(found, minlength=len(averages))
    used = np.flatnonzero(members >= LEAST_MEMBERS)
    views = {int(number): int(np.bincount(true[found == number]).argmax()) for number in used}
    frc = {number: best_frc(averages[number], seen, view) for number, view in views.items()}
    shells = averages.shape[1] // 3
    means = np.array([frc[int(number)][1 : shells + 1].mean() for number in used])
    return Quality(
        purity=purity(found, true),
        adjusted_rand=adjusted_rand(found, true),
        classes_in_use=len(used),
        views_found=len(set(views.values())),
        mean_frc=float(np.average(means, weights=members[used])) if len(used) else 0.0,
    )


def best_frc(average: NDArray[np.float64], seen: ViewSet, view: int) -> NDArray[np.float64]:
    """FRC with the true projection at the in-plane angle and shift that correlate best, to a third of a pixel."""
    best, turned = -np.inf, np.zeros_like(average)
    transform = np.fft.rfft2(average)
    for psi in np.arange(0.0, 360.0, _STEP_DEGREES):
        candidate = seen.projection(view, float(psi))
        correlation = np.fft.irfft2(transform * np.fft.rfft2(candidate).conj(), s=average.shape)
        if correlation.max() > best:
            best, turned = float(correlation.max()), candidate
    shift = _peak(np.fft.irfft2(transform * np.fft.rfft2(turned).conj(), s=average.shape))
    moved = np.asarray(ndimage.fourier_shift(np.fft.fft2(turned), shift))
    return ring_correlation(np.fft.fft2(average), moved)


def ring_correlation(first: NDArray[np.complex128], second: NDArray[np.complex128]) -> NDArray[np.float64]:
    """FRC per ring of two full transforms."""
    axis = np.fft.fftfreq(first.shape[0], 1.0 / first.shape[0])
    ring = np.floor(np.hypot(axis[:, None], axis[None]) + 0.5).astype(int).ravel()
    parts = ((first * second.conj()).real, np.abs(first) ** 2, np.abs(second) ** 2)
    cross, left, right = (np.bincount(ring, part.ravel()) for part in parts)
    return np.asarray(cross / np.sqrt(np.maximum(left * right, 1e-300)))[: first.shape[0] // 2]


def _peak(correlation: NDArray[np.float64]) -> tuple[float, float]:
    """Position of the maximum, refined by a parabola along each axis; negative beyond the middle."""
    y, x = np.unravel_index(int(correlation.argmax()), correlation.shape)
    found = []
    for axis, at in enumerate((int(y), int(x))):
        line = np.roll(correlation.take(int(x) if axis == 0 else int(y), axis=1 - axis), 1 - at)[:3]
        bend = line[0] - 2.0 * line[1] + line[2]
        fine = at + (0.5 * (line[0] - line[2]) / bend if bend < 0 else 0.0)
        found.append(fine - correlation.shape[axis] if fine > correlation.shape[axis] / 2 else fine)
    return found[0], found[1]
