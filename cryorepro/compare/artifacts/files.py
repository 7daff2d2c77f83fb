"""One file of two runs: the same, the same within rounding, or different, and by how much."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from cryorepro.em.errors import InputError
from cryorepro.em.formats.canonical import canonical
from cryorepro.em.formats.maps import read_map
from cryorepro.em.fsc import crossing, fsc_curve
from cryorepro.model.base import Record
from cryorepro.workflow.files import sha256_of

Word = Literal["identical", "numerical", "different", "missing", "unverifiable"]
SEVERITY: tuple[Word, ...] = ("identical", "numerical", "different", "missing", "unverifiable")
MAP_TOLERANCE_SIGMA = 1e-3
"""Largest difference of two voxels, over the deviation of the map, that counts as rounding."""


class FilePair(Record):
    """What two files have apart: a word, a sentence, figures with their units in their names."""

    name: str
    word: Word
    reason: str
    figures: dict[str, Any] = {}
    excluded: tuple[str, ...] = ()


def worst(words: list[Word]) -> Word:
    """The most severe of some words; identical when there is none."""
    return max(words, key=SEVERITY.index, default="identical")


def same_bytes(first: Path, second: Path) -> bool:
    """Whether two files are the same byte by byte."""
    return first.stat().st_size == second.stat().st_size and sha256_of(first) == sha256_of(second)


def compare_files(name: str, first: Path, second: Path, symmetry: str = "C1") -> FilePair:
    """Compare two files by their kind: canonical bytes first, then numbers, then what numbers mean.

    Files that cannot be read are ``unverifiable`` with the reason, never an error: the others still count.
    """
    try:
        if same_bytes(first, second):
            return FilePair(name=name, word="identical", reason="the same bytes")
        one, other = canonical(first), canonical(second)
        if one.sha256 == other.sha256:
            reason = f"the same but for {', '.join(one.excluded)}"
            return FilePair(name=name, word="identical", reason=reason, excluded=one.excluded)
        if first.suffix in (".mrc", ".map"):
            return _compare_maps(name, first, second)
        if first.suffix == ".star":
            from cryorepro.compare.artifacts.tables import compare_tables

            return compare_tables(name, first, second, symmetry)
    except InputError as error:
        return FilePair(name=name, word="unverifiable", reason=str(error))
    return FilePair(name=name, word="different", reason="other bytes", excluded=one.excluded)


def _compare_maps(name: str, first: Path, second: Path) -> FilePair:
    (left, left_pixel), (right, right_pixel) = read_map(first), read_map(second)
    if left.shape != right.shape:
        return FilePair(name=name, word="different", reason=f"maps of {left.shape} and {right.shape} voxels")
    if abs(left_pixel / right_pixel - 1.0) > 1e-4:
        reason = f"wrong pixel size: voxels of {left_pixel:.5g} A and {right_pixel:.5g} A"
        return FilePair(name=name, word="different", reason=reason)
    a, b = (volume.astype(np.float64) for volume in (left, right))
    deviation = float(a.std()) or 1.0
    largest, rms = float(np.abs(a - b).max()) / deviation, float(np.sqrt(((a - b) ** 2).mean())) / deviation
    both = float(a.std() * b.std())
    correlation = float(((a - a.mean()) * (b - b.mean())).mean() / both) if both > 0 else 0.0
    figures: dict[str, Any] = {
        "largest_difference_sigma": largest, "rms_difference_sigma": rms, "correlation": correlation,
    }  # fmt: skip
    if largest <= MAP_TOLERANCE_SIGMA:
        reason = f"no voxel differs by more than {largest:.1e} of the map's deviation"
        return FilePair(name=name, word="numerical", reason=reason, figures=figures)
    if left.ndim == 3 and len(set(left.shape)) == 1:
        figures["fsc_0.5_shell"] = crossing(fsc_curve(a, b), 0.5).shell
    reason = f"correlation {correlation:.4f}, rms difference {rms:.2g} of the map's deviation"
    if "fsc_0.5_shell" in figures:
        reason += f", FSC 0.5 at shell {figures['fsc_0.5_shell']} of {left.shape[0] // 2}"
    return FilePair(name=name, word="different", reason=reason, figures=figures)
