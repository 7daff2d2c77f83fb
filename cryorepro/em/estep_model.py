"""What the expectation step assumes in one iteration, and tables of slices that all workers share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.devices.plan import Plan
from cryorepro.em.fourier import HalfPlane
from cryorepro.em.preparation import Preparation
from cryorepro.em.projection import Projector
from cryorepro.em.sampling import Sampling
from cryorepro.em.team import Team

# Fixed, so that a row's bits never depend on the number of workers.
_ROWS_PER_TASK = 512


@dataclass(frozen=True)
class EstepModel:
    """The model of one iteration.

    Attributes:
        projectors: one per class, all for the same radius.
        sampling: the grid of orientations and shifts.
        preparation: how images are masked, normalised and cut to the half plane.
        coarse_shell: Fourier radius of the coarse pass: pixels with ``|k| <= coarse_shell``.
        log_prior: ``[k, d]`` log of the probability of class and direction together (-inf: never).
        offset_sigma_px: deviation of the whole offset's Gaussian prior, centred on zero.
        scale: ``[scale groups]`` intensity of each group's signal.
        score_with_ctf: whether slices are multiplied with the CTF before they are compared.
        cross_correlation: score by normalised cross-correlation and keep the best sample alone.
        adaptive_fraction: share of the posterior that the significant samples must hold.
        only_class: ``[n]`` int64 restricts each particle to one class; None leaves all open.
        score_shell: Fourier radius beyond which nothing is compared, only inserted; None: no such limit.
        reduced_precision: the coarse pass may round what it multiplies to bfloat16 (it sums in float32); on a GPU both
            passes may round what they compare to TF32.
        plan: how much is held at once.
        quanta: of the grids' numerators and weights where sums are exact (the expectation step sets them); else None.

    Projectors, preparation and priors are on the device the step runs on; which particles there are and where they
    were found stays with the CPU.
    """

    projectors: tuple[Projector, ...]
    sampling: Sampling
    preparation: Preparation
    coarse_shell: int
    log_prior: Tensor
    offset_sigma_px: float
    scale: Tensor
    score_with_ctf: bool = True
    cross_correlation: bool = False
    adaptive_fraction: float = 0.999
    only_class: Tensor | None = None
    score_shell: int | None = None
    reduced_precision: bool = True
    plan: Plan = Plan()
    quanta: tuple[float, float] | None = None

    @property
    def device(self) -> torch.device:
        """Where the step runs."""
        return self.preparation.mask.device

    @property
    def plane(self) -> HalfPlane:
        """The half plane of the fine pass."""
        return self.preparation.plane

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.projectors)

    @property
    def compared(self) -> Tensor | None:
        """``[n]`` float32, 1 where the fine pass compares a pixel of its plane and 0 elsewhere; None: everywhere."""
        if self.score_shell is None:
            return None
        return (torch.arange(len(self.plane), device=self.device) < self.plane.coarse_length(self.score_shell)).float()

    def log_offset_prior(self, offset_px: Tensor) -> Tensor:
        """Log prior, up to a constant, of whole offsets ``[..., 2]`` (x, y) in pixels."""
        return -(offset_px**2).sum(dim=-1) / (2.0 * self.offset_sigma_px**2)

    def add_offset_prior_(self, scores: Tensor, offset_px: Tensor, _classes: Tensor) -> None:
        """Add the log prior of whole offsets ``[g, s, 2]`` to ``scores [g, s, q]``, the same for every class."""
        scores.add_(self.log_offset_prior(offset_px).float()[:, :, None])


def strict_shell(extent_angstrom: float, limit_angstrom: float | None, radius: int) -> int | None:
    """Last shell that is compared under ``strict_highres_exp``, in a box of that extent; None for all to ``radius``.

    RELION's rule (seen, 3.1.3): both passes compare that far, and images are inserted to the current size.
    """
    return None if limit_angstrom is None else min(radius, max(1, round(extent_angstrom / limit_angstrom)))


@dataclass(frozen=True)
class SliceTable:
    """Slices ``[rows, 2, n]`` float32: real and imaginary parts."""

    values: Tensor

    @property
    def pixels(self) -> int:
        """Pixels of a slice."""
        return int(self.values.shape[2])

    @property
    def real(self) -> Tensor:
        """Real parts ``[rows, n]``."""
        return self.values[:, 0]

    @property
    def imaginary(self) -> Tensor:
        """Imaginary parts ``[rows, n]``."""
        return self.values[:, 1]

    def gather(self, rows: Tensor) -> Tensor:
        """Copies ``[..., 2, n]`` of the slices at ``rows [...]``."""
        return self.values.index_select(0, rows.flatten()).reshape(*rows.shape, *self.values.shape[1:])


def project_table(
    team: Team, projectors: tuple[Projector, ...], classes: Tensor, matrices: Tensor, plane: HalfPlane
) -> SliceTable:
    """Slice ``projectors[classes[i]]`` at ``matrices[i]``, ``[rows, 3, 3]``, on every pixel of ``plane``.

    ``classes`` must ascend.
    """
    rows = int(classes.shape[0])
    per_task = _ROWS_PER_TASK if team.device.type == "cpu" else max(1, rows)
    table = SliceTable(team.empty((rows, 2, len(plane))))
    team.share("slicing", (projectors, classes, matrices, plane, table, per_task))
    for _ in team.map(_slice_rows, -(-rows // per_task), "slicing"):
        pass
    return table


def _slice_rows(number: int, slicing: tuple[tuple[Projector, ...], Tensor, Tensor, HalfPlane, SliceTable, int]) -> None:
    projectors, classes, matrices, plane, table, per_task = slicing
    block = slice(number * per_task, (number + 1) * per_task)
    _project_block(projectors, classes[block], matrices[block], plane, table, block.start)


def _project_block(
    projectors: tuple[Projector, ...],
    classes: Tensor,
    matrices: Tensor,
    plane: HalfPlane,
    table: SliceTable,
    start: int,
) -> None:
    """Slices of one block; ``classes`` ascends, so that those of one class are neighbours."""
    numbers, counts = torch.unique_consecutive(classes, return_counts=True)
    for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
        rows = slice(start, start + count)
        # a reference that does not stay on the device is there for its own slices alone
        projectors[number].on(table.values.device).slices_into(table.values[rows], matrices[:count], plane)
        matrices, start = matrices[count:], start + count
