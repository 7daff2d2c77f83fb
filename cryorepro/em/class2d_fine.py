"""The fine pass of a 2D classification: the posterior of each particle, and what it adds to the class averages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cryorepro.em.class2d_coarse import Significant, scored, significant_weight
from cryorepro.em.class2d_grid import PlaneModel
from cryorepro.em.preparation import Prepared


@dataclass(frozen=True)
class FineShifts:
    """Fine shifts ``[t, 2]`` in pixels and their phase ramps ``[t, n]``, the same for all particles."""

    shifts: Tensor
    ramps: Tensor

    @classmethod
    def of(cls, model: PlaneModel) -> FineShifts:
        """Those of a model's sampling, on its whole plane."""
        shifts = model.sampling.fine_shifts()
        return cls(shifts, model.plane.phase_ramps(shifts))


class FineTable:
    """Averages at the fine angles that some particles need, and sums of what these particles add there.

    Attributes:
        rows: ``[q]`` int64 the fine rows held, ascending; row = class * fine angles + angle.
        real, imaginary, power: ``[q, n]`` the turned averages, and their squared moduli.
        numerator: ``[q, 2n]`` sums of weighted images times CTF over sigma2, real and imaginary alternating.
        weight: ``[q, n]`` sums of weighted CTF^2 over sigma2.
    """

    def __init__(self, model: PlaneModel, coarse_rows: Tensor) -> None:
        """Turn the averages to the children of ``coarse_rows`` (distinct, ascending)."""
        children, pixels = model.sampling.children, len(model.plane)
        self._angles = model.sampling.rows_per_class * children
        self.rows = (coarse_rows[:, None] * children + torch.arange(children)).flatten()
        count = self.rows.shape[0]
        self._place = torch.full((model.classes * self._angles,), -1)
        self._place[self.rows] = torch.arange(count)
        self.real, self.imaginary = torch.empty(count, pixels), torch.empty(count, pixels)
        for angle, places, classes in self._by_angle():
            re, im = model.fine_turns[angle].read(*(part[:, classes] for part in model.columns))
            self.real[places], self.imaginary[places] = torch.from_numpy(re.T), torch.from_numpy(im.T)
        self.power = self.real.square().addcmul_(self.imaginary, self.imaginary)
        self.numerator, self.weight = torch.zeros(count, 2 * pixels), torch.zeros(count, pixels)

    def powers(self, images: Prepared, index: Tensor, scale: Tensor) -> Tensor:
        """``[b, q]`` power of every row, as the images at ``index [b]`` would see it, over sigma2; ``scale [b]``."""
        weight = images.ctf[index] * scale[:, None]
        return (weight.square_() * scored(images.inverse_sigma2[index])) @ self.power.T

    def add_weights(self, images: Prepared, index: Tensor, scale: Tensor, totals: Tensor) -> None:
        """Add CTF^2 over sigma2 of the images at ``index [b]`` to every row, ``totals [b, q]`` times."""
        modelled = images.ctf[index] * scale[:, None]
        self.weight.addmm_(totals.T, modelled.square_() * images.inverse_sigma2[index])

    def places(self, fine_rows: Tensor) -> Tensor:
        """Positions ``[m]`` in this table of fine rows ``[m]``."""
        return self._place[fine_rows]

    def class_of(self, fine_rows: Tensor) -> Tensor:
        """Class of each fine row."""
        return fine_rows // self._angles

    def spread(self, model: PlaneModel, grids: np.ndarray) -> None:
        """Add the sums to the classes' ``grids [3, grid points, k]`` (numerator, weight)."""
        pairs = self.numerator.reshape(self.rows.shape[0], -1, 2)
        for angle, places, classes in self._by_angle():
            parts = (pairs[places, :, 0], pairs[places, :, 1], self.weight[places])
            added = model.fine_turns[angle].spread(*(np.ascontiguousarray(part.T.numpy()) for part in parts))
            for grid, values in zip(grids, added, strict=True):
                grid[:, classes] += values

    def _by_angle(self) -> list[tuple[int, Tensor, np.ndarray]]:
        """For each fine angle in use: its number, the positions of its rows, and their classes."""
        angles, classes = self.rows % self._angles, (self.rows // self._angles).numpy()
        found = []
        for angle in torch.unique(angles).tolist():
            places = (angles == angle).nonzero()[:, 0]
            found.append((angle, places, classes[places.numpy()]))
        return found


@dataclass(frozen=True)
class Posterior:
    """Weights of one particle's significant fine samples.

    Attributes:
        rows: ``[q]`` fine rows; ``sign`` ``[q]`` is -1 where the mate is meant.
        shifts: ``[s]`` fine shifts.
        weights: ``[s, q]`` float32, summing to at most 1.
        best_row, best_turned, best_shift: the most probable sample, and ``max_probability`` its weight.
        log_evidence: log of the sum over all samples, up to terms that do not depend on the model.
    """

    rows: Tensor
    sign: Tensor
    shifts: Tensor
    weights: Tensor
    best_row: int
    best_turned: bool
    best_shift: int
    max_probability: float
    log_evidence: float


def posterior(
    model: PlaneModel,
    table: FineTable,
    fine: FineShifts,
    image: tuple[Prepared, int, float],
    coarse: Significant,
    powers: Tensor,
) -> Posterior:
    """Score the children of one image's significant coarse samples at the full size of this iteration.

    ``image`` is a batch, the image's number in it and its scale; ``powers [q]`` its line of `FineTable.powers`.
    """
    children = model.sampling.children
    rows = (coarse.rows[:, None] * children + torch.arange(children)).flatten()
    shifts = (coarse.shifts[:, None] * children**2 + torch.arange(children**2)).flatten()
    sign = torch.where(coarse.turned, -1.0, 1.0).repeat_interleave(children)
    scores = _scores(model, table, fine, image, (rows, sign, shifts), powers)
    pairs = coarse.pairs.T.repeat_interleave(children**2, dim=0).repeat_interleave(children, dim=1)
    scores.masked_fill_(~pairs, -torch.inf)
    best_shift, best_row = divmod(int(scores.argmax()), scores.shape[1])
    top = float(scores[best_shift, best_row])
    weights = torch.exp(scores - top)
    total = float(weights.sum(dtype=torch.float64))
    kept = weights >= significant_weight(weights, model.adaptive_fraction)
    use_shift, use_row = kept.any(dim=1).nonzero()[:, 0], kept.any(dim=0).nonzero()[:, 0]
    return Posterior(
        rows[use_row], sign[use_row], shifts[use_shift], (weights * kept)[use_shift][:, use_row] / total,
        int(rows[best_row]), bool(sign[best_row] < 0), int(shifts[best_shift]), 1.0 / total, top + float(np.log(total)),
    )  # fmt: skip


def _scores(
    model: PlaneModel,
    table: FineTable,
    fine: FineShifts,
    image: tuple[Prepared, int, float],
    samples: tuple[Tensor, Tensor, Tensor],
    powers: Tensor,
) -> Tensor:
    """Log weights ``[s, q]`` of every combination of shift and row."""
    (images, row, scale), (rows, sign, shifts) = image, samples
    weight, inverse = images.ctf[row] * scale, scored(images.inverse_sigma2[row])
    left = (images.masked[row] * (weight * inverse)) * fine.ramps[shifts]
    place = table.places(rows)
    cross = left.imag.contiguous() @ table.imaginary[place].T
    cross = torch.addmm(cross.mul_(sign), left.real.contiguous(), table.real[place].T)
    number = table.class_of(rows)
    offsets = images.whole_origin[row] + fine.shifts[shifts]
    away = squared_distances(offsets, model.class_offset_px) / (2.0 * model.offset_sigma_px**2)
    of_class = (model.log_prior - away).float()
    return cross.sub_(0.5 * powers[place]).add_(of_class[:, number])


def squared_distances(offsets: Tensor, centres: Tensor) -> Tensor:
    """``[s, k]`` squared distances in pixels of ``offsets [s, 2]`` from the classes' ``centres [k, 2]``."""
    return ((offsets[:, None] - centres) ** 2).sum(dim=-1)


def contribute(
    table: FineTable, fine: FineShifts, image: tuple[Prepared, int, float], post: Posterior
) -> tuple[Tensor, Tensor]:
    """Average the shifted images over the posterior of every row, and add them to the table's sums.

    Returns:
        The image's correlation with the model per pixel ``[n]``, without the scale, and the weight ``[q]`` of every
        row of the table.
    """
    images, row, scale = image
    ramps, per_row = fine.ramps[post.shifts], post.weights.T.contiguous()
    place = table.places(post.rows)
    ctf, inverse = images.ctf[row], images.inverse_sigma2[row]
    # the mean over shifts of the ramps is the same for every image of this particle
    mean_ramp = torch.view_as_complex((per_row @ torch.view_as_real(ramps).flatten(1)).reshape(place.shape[0], -1, 2))
    turned = torch.complex(table.real[place], table.imaginary[place] * -post.sign[:, None])
    product = (images.masked[row] * turned.mul_(mean_ramp).sum(dim=0)).real
    plain = torch.view_as_real(mean_ramp.mul_(images.plain[row] * (ctf * scale * inverse)))
    plain[..., 1] *= post.sign[:, None]
    table.numerator.index_add_(0, place, plain.flatten(1))
    totals = torch.zeros(table.rows.shape[0]).index_add_(0, place, post.weights.sum(dim=0))
    return product * ctf, totals
