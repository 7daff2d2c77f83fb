"""Robust least squares for a trajectory: whole-frame shifts and a smooth polynomial from weighted targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cryorepro.em.motion.trajectory import SPATIAL, TEMPORAL, Trajectory, spatial_terms

Floats = NDArray[np.float64]
_HUBER = 2.0
_ROUNDS = 4
_PRIOR_PX = 8.0
_SIGNIFICANT = 2.5
_LOCAL_TERMS = SPATIAL - 1  # the constant term is the whole frame's


@dataclass(frozen=True)
class Targets:
    """Where every patch of every frame would be best placed.

    Attributes:
        shifts_px: ``[patches, frames, 2]`` (x, y).
        roots: ``[patches, 2, 2]`` square roots of their weights; 0 for a patch that says nothing.
        x, y: ``[patches]`` normalised positions.
    """

    shifts_px: Floats
    roots: Floats
    x: Floats
    y: Floats


def fit_trajectory(targets: Targets, before: Trajectory) -> Trajectory:
    """Fit both parts; the polynomial is left out where it explains no more than chance would.

    The Huber weights of single targets and the weight of each patch come from the residuals of the fit before.
    """
    design = _Design(targets, before.frames)
    weights = np.ones(targets.shifts_px.shape[:2])
    values, rest, noise = design.solve(weights, 1.0, local=True)
    for _ in range(_ROUNDS):
        weights = _robust(rest, targets.roots)
        values, rest, noise = design.solve(weights, noise, local=True)
    plain, plain_rest, _ = design.solve(weights, noise, local=False)
    gained = float((weights[..., None] * (plain_rest**2 - rest**2)).sum())
    if gained < _SIGNIFICANT * noise * design.local_columns:
        values = plain
    return design.trajectory(values, before)


def _robust(rest: Floats, roots: Floats) -> Floats:
    """Weights ``[patches, frames]`` of targets by residuals ``[patches, frames, 2]``."""
    length = np.sqrt((rest**2).sum(axis=2))
    used = np.abs(roots).max(axis=(1, 2)) > 0
    if not used.any():
        return np.ones(length.shape)
    spread = np.maximum(np.sqrt((length**2).mean(axis=1)), 1e-12)
    excess = spread / np.median(spread[used])
    patch = 1.0 / np.maximum(excess, 1.0) ** 2
    middle = max(float(np.median(length[used])), 1e-12) / 1.18  # of two normal deviates
    single = np.minimum(1.0, _HUBER * middle / np.maximum(length / np.sqrt(1.0 / patch)[:, None], 1e-12))
    found: Floats = patch[:, None] * single
    return found


class _Design:
    """The linear problem; unknowns are shifts of whole frames, then local coefficients, first of x, then of y.

    Only differences between frames of a patch are known, so each patch's weighted mean over frames is taken out.
    """

    def __init__(self, targets: Targets, frames: int) -> None:
        self.targets, self.frames = targets, frames
        time = np.arange(frames) / max(frames - 1, 1)
        powers = np.stack([time, time**2, time**3], axis=1)
        space = spatial_terms(targets.x, targets.y)[:, 1:]
        local = np.einsum("ps,ft->pfst", space, powers).reshape(len(space), frames, -1)
        whole = np.broadcast_to(np.eye(frames), (len(space), frames, frames))
        single = np.concatenate([whole, local], axis=2)
        self.local_columns = 2 * local.shape[2]
        self._unknowns = single.shape[2]
        # [patches, frames, 2, unknowns * 2]: whitened by the root of each patch's weight
        self._rows = np.einsum("pij,pfu->pfiju", targets.roots, single).reshape(*single.shape[:2], 2, -1)
        self._aims = np.einsum("pij,pfj->pfi", targets.roots, targets.shifts_px)
        self._prior = self._prior_rows(powers)

    def _prior_rows(self, powers: Floats) -> Floats:
        grid = np.linspace(-0.5, 0.5, 5)
        x, y = (side.ravel() for side in np.meshgrid(grid, grid))
        space = spatial_terms(x, y)[:, 1:]
        local = np.einsum("ps,ft->pfst", space, powers).reshape(len(x) * self.frames, -1)
        scaled = local.T @ local / (len(local) * _PRIOR_PX**2)
        found = np.zeros((2, self._unknowns, 2, self._unknowns))
        for axis in range(2):
            found[axis, self.frames :, axis, self.frames :] = scaled
        return found.reshape(2 * self._unknowns, -1)

    def solve(self, weights: Floats, noise: float, *, local: bool) -> tuple[Floats, Floats, float]:
        """Return unknowns, whitened residuals ``[patches, frames, 2]`` and their weighted mean square."""
        kept = np.ones((2, self._unknowns), dtype=bool)
        if not local:
            kept[:, self.frames :] = False
        chosen = np.flatnonzero(kept.ravel())
        shares = (weights / weights.sum(axis=1, keepdims=True))[:, :, None]
        aims = self._aims - (shares * self._aims).sum(axis=1, keepdims=True)
        centred = self._rows[..., chosen]
        centred = centred - (shares[..., None] * centred).sum(axis=1, keepdims=True)
        rows = centred.reshape(-1, len(chosen))
        weighted = np.repeat(weights.ravel(), 2)
        heavy = torch.from_numpy(rows * weighted[:, None])  # torch keeps to the threads it was given
        normal = (torch.from_numpy(rows).T @ heavy).numpy() + noise * self._prior[np.ix_(chosen, chosen)]
        normal += 1e-9 * np.trace(normal) / len(chosen) * np.eye(len(chosen))
        values = np.zeros(2 * self._unknowns)
        wanted = heavy.T @ torch.from_numpy(aims.ravel())
        values[chosen] = torch.linalg.solve(torch.from_numpy(normal), wanted).numpy()
        rest = aims - (torch.from_numpy(centred) @ torch.from_numpy(values[chosen])).numpy()
        freedom = max(2 * weights.sum() - len(chosen) - 2 * len(weights), 1.0)
        return values, rest, float((weights[..., None] * rest**2).sum() / freedom)

    def trajectory(self, values: Floats, before: Trajectory) -> Trajectory:
        shaped = values.reshape(2, self._unknowns)
        whole = shaped[:, : self.frames].T
        scale = 1.0 / np.array([max(self.frames - 1, 1) ** power for power in range(1, TEMPORAL + 1)])
        coefficients = np.zeros((2, SPATIAL, TEMPORAL))
        coefficients[:, 1:] = shaped[:, self.frames :].reshape(2, _LOCAL_TERMS, TEMPORAL) * scale
        return Trajectory(whole - whole[0], coefficients.reshape(2, -1), before.height_px, before.width_px)
