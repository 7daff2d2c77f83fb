"""Repeatability and reproducibility of one quantity, after ISO 5725-2: one-way analysis of variance.

A condition is what ISO 5725 calls a laboratory: program, machine, device and number of threads. Runs of one condition
differ in their seed alone; their pooled variance is the repeatability variance. What conditions add to it is the
between-laboratory variance, and the sum of both the reproducibility variance (ISO 5725-2:2019, 7.4.5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cryorepro.em.errors import InputError


@dataclass(frozen=True)
class Components:
    """``reproducibility`` is None when there was one condition only; ``df`` belongs to the total's variance."""

    runs: int
    conditions: int
    mean: float
    repeatability: float
    between: float | None
    reproducibility: float | None
    df: float

    @property
    def total(self) -> float:
        """SD of one further run: at any of the conditions, or at the only one there was."""
        return self.repeatability if self.reproducibility is None else self.reproducibility


def components(groups: Sequence[Sequence[float]], least: float = 0.0) -> Components:
    """Variance components of values grouped by condition; repeatability is at least ``least``.

    Raises:
        InputError: no condition has two runs, so nothing says how a run repeats.
    """
    filled = [list(group) for group in groups if group]
    sizes = [len(group) for group in filled]
    total, count = sum(sizes), len(filled)
    if total - count < 1:
        raise InputError("no condition has two runs: nothing says how well a run repeats itself")
    means = [math.fsum(group) / len(group) for group in filled]
    grand = math.fsum(math.fsum(group) for group in filled) / total
    within = math.fsum((value - m) ** 2 for group, m in zip(filled, means, strict=True) for value in group)
    repeat = max(within / (total - count), least**2)
    if count == 1:
        return Components(total, 1, grand, math.sqrt(repeat), None, None, float(total - 1))
    mean_square = math.fsum(n * (m - grand) ** 2 for n, m in zip(sizes, means, strict=True)) / (count - 1)
    size = (total - sum(n * n for n in sizes) / total) / (count - 1)
    between = max(0.0, (mean_square - repeat) / size)
    df = _degrees(mean_square, repeat, size, count - 1, total - count) if between > 0 else float(total - 1)
    root = math.sqrt(repeat)
    return Components(total, count, grand, root, math.sqrt(between), math.sqrt(repeat + between), df)


def _degrees(mean_square: float, repeat: float, size: float, between_df: int, within_df: int) -> float:
    """Satterthwaite's degrees of freedom of (MS_between + (n - 1) MS_within) / n."""
    parts = [(mean_square / size, between_df), ((1 - 1 / size) * repeat, within_df)]
    below = sum(part**2 / df for part, df in parts)
    return float(sum(part for part, _ in parts) ** 2 / below) if below > 0 else float(between_df)
