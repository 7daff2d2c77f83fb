"""What is wrong with a map that does not agree with the one it should show: hand, pixel size, or symmetry.

Each explanation is tried, and given only when it explains: the mirror image must fit clearly better, another
magnification must fit clearly better, the map must have axes that the reference lacks (or the other way round).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import fft, ndimage

from cryorepro.em.align import align_maps, transform_map
from cryorepro.em.errors import InputError
from cryorepro.em.fsc import fsc_curve
from cryorepro.em.lowpass import Map, Volume, check_cubic
from cryorepro.em.map_comparison import mean_fsc
from cryorepro.em.symmetry import normalise_symmetry, symmetry_matrices

_MIRROR = np.diag([1.0, 1.0, -1.0])
_CLEARLY = 0.1
_LARGEST_BOX = 64
_SEARCH_ROTATIONS = 1152
_SEARCH_SHELLS, _REFINE_SHELLS = 8, 12
_FITS_AS_IT_LIES = 0.8
_SCALES = np.linspace(0.8, 1.25, 46)
_SMALLEST_MISFIT = 0.015
_SYMMETRIC, _NOT_SYMMETRIC = 0.95, 0.85
_GROUPS = ("C2", "C3", "C4", "C5", "C6", "C7", "C8", "D2", "D3", "D4", "D5", "D7", "T", "O", "I")


@dataclass(frozen=True)
class Finding:
    """One explanation: its kind (``hand``, ``pixel-size``, ``symmetry`` …), a sentence, and figures behind it."""

    kind: str
    sentence: str
    figures: dict[str, float | str] = field(default_factory=dict)


def diagnose_map(volume: Map, reference: Map, pixel_size_angstrom: float, symmetry: str = "C1") -> list[Finding]:
    """Why ``volume`` does not show what ``reference`` does; empty when none of the explanations explains it.

    Args:
        volume: the map in question, ``[n, n, n]``.
        reference: what it should show, same box and pixel size, in any orientation.
        pixel_size_angstrom: of both, as declared.
        symmetry: point group the map should have.

    Raises:
        InputError: the maps are not finite cubes of one size, or the symmetry is none.
    """
    box = check_cubic(volume, "map")
    if check_cubic(reference, "reference") != box:
        raise InputError(f"maps of {box} and {reference.shape[0]} voxels cannot be held against each other")
    if box > _LARGEST_BOX:
        volume, reference = _cropped(volume), _cropped(reference)
        pixel_size_angstrom *= box / _LARGEST_BOX
    declared = pixel_size_angstrom * volume.shape[0] / box
    return _findings(volume, reference, pixel_size_angstrom, symmetry, declared)


def _findings(volume: Map, reference: Map, pixel_size: float, symmetry: str, declared: float) -> list[Finding]:
    """Findings on maps of a moderate box, whose voxels of ``pixel_size`` were ``declared`` before they were cropped."""
    axes = _symmetry_finding(volume, reference, normalise_symmetry(symmetry))
    if axes is not None:
        return [axes]
    scale = best_scale(volume, reference)
    if abs(scale.scale - 1.0) > _SMALLEST_MISFIT and scale.score - scale.unscaled > _CLEARLY * (1.0 - scale.unscaled):
        return [_pixel_size_finding(scale, declared)]
    hand = _hand_finding(volume, reference, pixel_size, symmetry)
    return [hand] if hand is not None else []


@dataclass(frozen=True)
class Scale:
    """``scale`` by which the reference must be enlarged to fit best, mean FSC there and without."""

    scale: float
    score: float
    unscaled: float


def best_scale(volume: Map, reference: Map) -> Scale:
    """The magnification of the reference at which the mean FSC over the coarse half of the shells is largest.

    The maps are compared as they lie.  Coarse steps of 1 % are followed by the vertex of the parabola through the
    best one and its neighbours.
    """
    scores = np.array([mean_fsc(volume, _magnified(reference, float(scale))) for scale in _SCALES])
    best = int(scores.argmax())
    scale = float(_SCALES[best])
    if 0 < best < len(_SCALES) - 1:
        before, at, after = scores[best - 1 : best + 2]
        curvature = before - 2.0 * at + after
        step = 0.5 * (before - after) / curvature if curvature < 0 else 0.0
        scale += float(step) * float(_SCALES[1] - _SCALES[0])
    return Scale(scale, float(scores[best]), mean_fsc(volume, reference))


def symmetry_correlation(volume: Map, group: str, resolved_shells: int | None = None) -> float:
    """Mean FSC of a map with its copies turned by the group's operators, the worst operator counting.

    1 for a map with this symmetry in RELION's setting.  Up to six operators, spread over the group, are tried;
    shells 2 to ``resolved_shells`` count (a quarter of the box unless given).
    """
    operators = symmetry_matrices(group)[1:]
    chosen = operators[np.unique(np.linspace(0, len(operators) - 1, min(6, len(operators))).astype(int))]
    last = resolved_shells or max(4, volume.shape[0] // 4)
    # Beyond a third of the box trilinear turning costs more correlation than a missing axis.
    scores = [
        fsc_curve(volume, transform_map(volume, operator, np.zeros(3)))[2 : last + 1].mean() for operator in chosen
    ]
    return float(min(scores))


def _symmetry_finding(volume: Map, reference: Map, expected: str) -> Finding | None:
    """Axes the map has and the reference lacks, or that both should have and the map lacks."""
    gained = []
    for group in _GROUPS:
        own = symmetry_correlation(volume, group)
        if own < _SYMMETRIC:
            continue
        other = symmetry_correlation(reference, group)
        if other < _NOT_SYMMETRIC:
            gained.append((len(symmetry_matrices(group)), group, own, other))
    if gained:
        _, group, own, other = max(gained)
        figures: dict[str, float | str] = {"group": group, "map": own, "reference": other, "expected": expected}
        sentence = (
            f"wrong symmetry: the map has the symmetry {group} (correlation {own:.2f} with its turned copies), which"
            f" what it should show does not have ({other:.2f}); {expected} is expected"
        )
        return Finding("symmetry", sentence, figures)
    if expected == "C1":
        return None
    own, other = (symmetry_correlation(each, expected) for each in (volume, reference))
    if other >= _SYMMETRIC and own < _NOT_SYMMETRIC:
        figures = {"group": expected, "map": own, "reference": other, "expected": expected}
        sentence = (
            f"wrong symmetry: the map lacks the symmetry {expected} (correlation {own:.2f} with its turned copies)"
        )
        return Finding("symmetry", sentence, figures)
    return None


def _pixel_size_finding(scale: Scale, pixel_size: float) -> Finding:
    implied = pixel_size / scale.scale
    figures: dict[str, float | str] = {
        "scale": scale.scale, "mean_fsc": scale.score, "mean_fsc_unscaled": scale.unscaled,
        "implied_pixel_size_angstrom": implied,
    }  # fmt: skip
    sentence = (
        f"wrong pixel size: the map fits {scale.scale:.3f} times enlarged (mean FSC {scale.score:.2f} against"
        f" {scale.unscaled:.2f}); {pixel_size:.4g} A is declared, {implied:.4g} A would explain it"
    )
    return Finding("pixel-size", sentence, figures)


def _hand_finding(volume: Map, reference: Map, pixel_size: float, symmetry: str) -> Finding | None:
    if mean_fsc(volume, reference) > _FITS_AS_IT_LIES:
        return None
    edge = volume.shape[0] * pixel_size
    search, refine = (max(edge / shells, 2.0 * pixel_size) for shells in (_SEARCH_SHELLS, _REFINE_SHELLS))
    found = align_maps(volume, reference, pixel_size, symmetry, search, refine, _SEARCH_ROTATIONS)
    if found.other_hand_score - found.score <= _CLEARLY:
        return None
    figures: dict[str, float | str] = {"as_it_is": found.score, "mirrored": found.other_hand_score}
    sentence = (
        f"wrong hand: the mirror image of what the map should show fits better (mean FSC {found.other_hand_score:.2f}"
        f" against {found.score:.2f})"
    )
    return Finding("hand", sentence, figures)


def _cropped(volume: Map) -> Volume:
    """Fourier-cropped to the largest box that is searched: coarse shells decide hand, axes and magnification."""
    box, small = volume.shape[0], _LARGEST_BOX
    spectrum = fft.rfftn(fft.ifftshift(np.asarray(volume, dtype=np.float64)))
    keep = np.r_[0 : small // 2, box - small // 2 : box]
    spectrum = spectrum[np.ix_(keep, keep, np.arange(small // 2 + 1))]
    return np.asarray(fft.fftshift(fft.irfftn(spectrum, s=(small, small, small))))


def _magnified(volume: Map, scale: float) -> Volume:
    """``V(x / scale)`` about voxel ``n // 2``."""
    if scale == 1.0:
        return np.asarray(volume, dtype=np.float64)
    origin = np.full(3, volume.shape[0] // 2, dtype=np.float64)
    matrix = np.eye(3) / scale
    return np.asarray(
        ndimage.affine_transform(np.asarray(volume, dtype=np.float64), matrix, origin - matrix @ origin, order=1)
    )


def sentences(findings: Sequence[Finding]) -> list[str]:
    """What is printed."""
    return [finding.sentence for finding in findings]
