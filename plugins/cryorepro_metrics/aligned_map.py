"""A map that was made from images alone held against a twin's true one: turned, shifted, and in either hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryorepro.em.align import align_hands, refine_hand
from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map
from cryorepro.em.fsc import crossing, fsc_curve
from cryorepro.em.map_resampling import resample_map
from cryorepro.model.outcome import MetricValue
from cryorepro.plugins.interfaces import MetricContext
from cryorepro_metrics.context import number
from cryorepro_metrics.half_maps import read_artifact, shell_value

Floats = NDArray[np.float64]
_SHELLS, _ROTATIONS = (8, 12, 24, 36), 2304
_SOFT_ANGSTROM = 4.0


class AlignedMapTruth:
    """Last shell before the FSC of the map with the true one, within the protein, falls below 0.5 or ``threshold``."""

    def measure(self, context: MetricContext) -> MetricValue:
        """Shell index; which hand the map has, the curves without mask and at 0.143 among the details.

        The true map is brought onto the found one, hand included, so that what is measured is not interpolated.
        ``mask_role`` names another mask of the truth, or ``none``; ``map_role`` another map of the stage.

        Raises:
            InputError: a map is missing or unreadable, or its grid does not fit the true one.
        """
        role = str(context.parameters.get("map_role", "map"))
        found, pixel = read_artifact(context, role)
        if "map" not in context.truth:
            raise InputError("the twin's truth holds no map")
        true, true_pixel = read_map(context.truth["map"])
        box, volume, reference = found.shape[0], found.astype(np.float64), true.astype(np.float64)
        # of the found map about its own axes: what the stage imposed, not what the particle has
        symmetry = str(context.stage_parameters.get("symmetry", "C1"))
        placed = _Placed(volume, pixel, reference, true_pixel, symmetry)
        moved = placed.lay(reference)
        weights, (same, other) = _mask(context, placed), placed.hands
        masked, whole = fsc_curve(volume * weights, moved * weights), fsc_curve(volume, moved)
        threshold = number(context, "threshold", 0.5)
        value = shell_value(masked, threshold, box, pixel)
        details: dict[str, Any] = {
            **value.details,
            "shell_at_0.143": crossing(masked, 0.143).shell,
            "unmasked_shell": crossing(whole, threshold).shell,
            "unmasked_curve": [round(float(point), 5) for point in whole],
            "mean_within_mask": round(float(masked[1 : box // 2].mean()), 5),
            "other_hand": placed.mirrored,
            "alignment_scores": {"same_hand": round(same.score, 4), "other_hand": round(other.score, 4)},
        }
        return value.model_copy(update={"details": details})


class _Placed:
    """How the true map must be moved onto the found one."""

    def __init__(self, found: Floats, pixel: float, true: Floats, true_pixel: float, symmetry: str) -> None:
        self._box, self._pixel, self._true_pixel = found.shape[0], pixel, true_pixel
        coarse = resample_map(true, true_pixel, self._box, pixel)
        edge = self._box * pixel
        search, refine, judge, last = (max(edge / shells, 2.0 * pixel) for shells in _SHELLS)
        starts = align_hands(coarse, found, pixel, symmetry, search, refine, _ROTATIONS)
        # at low resolution a map and its mirror image are hardly told apart: the hands are judged on finer shells
        self.hands = [refine_hand(coarse, found, pixel, start, judge) for start in starts]
        self.mirrored = self.hands[1].score > self.hands[0].score
        self._chosen = refine_hand(coarse, found, pixel, self.hands[self.mirrored], last)

    def lay(self, volume: Floats) -> Floats:
        """A volume on the true map's grid, moved onto the found map and laid on its grid."""
        # an orthogonal matrix, improper where the hand differs: its inverse is its transpose
        turn, shift = self._chosen.rotation, self._chosen.shift_angstrom / self._true_pixel
        return resample_map(_moved(volume, turn.T, -turn.T @ shift), self._true_pixel, self._box, self._pixel)


def _moved(volume: Floats, matrix: Floats, shift_px: Floats) -> Floats:
    """``V'(x) = V(matrix^-1 (x - shift))`` by cubic splines."""
    inverse = np.linalg.inv(matrix)[::-1, ::-1]
    origin = np.full(3, volume.shape[0] // 2, dtype=np.float64)
    offset = origin - inverse @ (origin + np.asarray(shift_px)[::-1])
    return np.asarray(ndimage.affine_transform(np.asarray(volume, dtype=np.float64), inverse, offset, order=3))


def _mask(context: MetricContext, placed: _Placed) -> Floats:
    role = str(context.parameters.get("mask_role", "mask"))
    if role == "none":
        return np.ones((1, 1, 1))
    if role not in context.truth:
        raise InputError(f"the twin's truth holds no {role}")
    mask, pixel = read_map(context.truth[role])
    soft = ndimage.gaussian_filter(np.asarray(mask, dtype=np.float64), _SOFT_ANGSTROM / pixel)
    return np.clip(placed.lay(np.clip(2.0 * soft, 0.0, 1.0)), 0.0, 1.0)
