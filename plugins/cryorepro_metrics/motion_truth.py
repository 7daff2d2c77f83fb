"""How much of a movie's motion is left once a stage has corrected it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.motion.files import read_trajectory
from cryorepro.em.motion.trajectory import Trajectory
from cryorepro.em.movie_twin.motion import MovieMotion
from cryorepro.model.outcome import MetricValue
from cryorepro.plugins.interfaces import MetricContext
from cryorepro_metrics.context import number
from cryorepro_metrics.movie_truth import beside, stage_table, stem_of, true_motions, truth_table

Floats = NDArray[np.float64]
_MARGIN, _POINTS = 0.1, 7


class ResidualMotion:
    """Root mean square of the displacement that is left in the frames of corrected movies, in pixels of the movie."""

    def measure(self, context: MetricContext) -> MetricValue:
        """Over a grid of points, all frames and all movies, and both axes together.

        What is left is the true displacement plus the shift that the trajectory applies, less its mean over the frames
        at each point: a place that is displaced as a whole is not blurred.  How far such places are displaced against
        each other, the motion before correction and that without the local part are among the details.

        Raises:
            InputError: the stage wrote no trajectories, or of another number of frames or size than the truth has.
        """
        table = stage_table(context, "micrographs", "micrographs")
        names, files = table.text("rlnMicrographName"), table.text("rlnMicrographMetadata")
        truth = truth_table(context, "trajectories")
        points = int(number(context, "points", _POINTS))
        squares: dict[str, list[float]] = {"left": [], "before": [], "whole": [], "bent": []}
        worst = ("", 0.0)
        for name, file in zip(names, files, strict=True):
            found = read_trajectory(beside(context.artifacts["micrographs"], file))
            motions = true_motions(truth, (found.height_px, found.width_px))
            if stem_of(name) not in motions:
                raise InputError(f"{stem_of(name)}: this movie is not in the truth")
            movie = movie_squares(found, motions[stem_of(name)], points)
            for key, value in movie.items():
                squares[key].append(value)
            worst = max(worst, (stem_of(name), movie["left"]), key=lambda pair: pair[1])
        rms = {key: float(np.sqrt(np.mean(values))) for key, values in squares.items()}
        details = {
            "movies": len(names),
            "before_px": round(rms["before"], 4),
            "without_local_px": round(rms["whole"], 4),
            "distortion_px": round(rms["bent"], 4),
            "median_movie_px": round(float(np.median(np.sqrt(squares["left"]))), 4),
            "worst_movie": worst[0],
            "worst_movie_px": round(float(np.sqrt(worst[1])), 4),
        }
        return MetricValue(value=round(rms["left"], 4), unit="px", details=details)


def movie_squares(found: Trajectory, true: MovieMotion, points: int) -> dict[str, float]:
    """Mean squares in px^2: what is left, what there was, what is left of the whole frame's shifts alone, and how far
    places are displaced against each other.

    Raises:
        InputError: the trajectory has another number of frames than the truth.
    """
    if found.frames != len(true.drift_px):
        raise InputError(f"a trajectory of {found.frames} frames, but the movie has {len(true.drift_px)}")
    along = np.linspace(_MARGIN, 1.0 - _MARGIN, points)
    x, y = (axis.ravel() for axis in np.meshgrid(along * found.width_px, along * found.height_px))
    displaced = true.displacement(np.stack([x, y], axis=1))
    left = displaced + found.at(x, y).transpose(0, 2, 1)
    constant = left.mean(axis=0)
    return {
        "left": _mean_square(left - constant),
        "before": _mean_square(displaced - displaced.mean(axis=0)),
        "whole": _mean_square(_without_mean(displaced + found.whole_px[:, None])),
        "bent": _mean_square(constant - constant.mean(axis=0)),
    }


def _without_mean(left: Floats) -> Floats:
    return np.asarray(left - left.mean(axis=0))


def _mean_square(vectors: Floats) -> float:
    return float(np.square(vectors).sum(axis=-1).mean())
