"""Two STAR files: tables, rows and numbers; poses, shifts, defocus and classes where they hold particles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cryorepro.compare.artifacts.files import FilePair
from cryorepro.em.blobs import euler_matrices
from cryorepro.em.class_matching import match_classes
from cryorepro.em.formats.particles import Particles, read_particles
from cryorepro.em.formats.star import StarBlock, read_star
from cryorepro.em.pose_comparison import compare_poses
from cryorepro.em.symmetry import symmetry_matrices

RELATIVE_TOLERANCE = 1e-4
"""Of a number, or of the largest of its column: what another order of sums can change."""
_PERIODIC = ("rlnAngleRot", "rlnAnglePsi")
_FILE_LABELS = ("Name", "Image", "File")
FOLDERS = "folders of file names, order of rows"


def compare_tables(name: str, first: Path, second: Path, symmetry: str) -> FilePair:
    """Compare two STAR files table by table.

    Raises:
        InputError: one of them is not a STAR file.
    """
    left, right = read_star(first), read_star(second)
    if left.keys() != right.keys():
        apart = ", ".join(sorted(left.keys() ^ right.keys()))
        return FilePair(name=name, word="different", reason=f"only one has the table data_{apart}")
    figures: dict[str, Any] = {}
    if "particles" in left:
        figures, order = _particle_figures(first, second, symmetry)
        if order is not None:
            right["particles"] = _reordered(right["particles"], order)
    changes: dict[str, float] = {}
    for block in left:
        problem = _other_shape(left[block], right[block])
        if problem is not None:
            return FilePair(name=name, word="different", reason=problem)
        changes |= {f"{block}.{label}": value for label, value in _changes(left[block], right[block]).items()}
    if not changes:
        return FilePair(name=name, word="identical", reason=f"the same but for {FOLDERS}", excluded=(FOLDERS,))
    label, largest = max(changes.items(), key=lambda item: item[1])
    if largest <= RELATIVE_TOLERANCE:
        reason = f"no number differs by more than {largest:.1e} of its column ({label})"
        return FilePair(name=name, word="numerical", reason=reason, figures=figures, excluded=(FOLDERS,))
    shown = "other text" if np.isinf(largest) else f"by {largest:.2g} of its column"
    reason = "; ".join([f"{len(changes)} columns differ, most {label} ({shown})", *_told(figures)])
    return FilePair(name=name, word="different", reason=reason, figures=figures, excluded=(FOLDERS,))


def _other_shape(first: StarBlock, second: StarBlock) -> str | None:
    if first.row_count != second.row_count:
        return f"data_{first.name} has {first.row_count} and {second.row_count} rows"
    apart = sorted(first.columns.keys() ^ second.columns.keys())
    return f"only one has {apart[0]} in data_{first.name}" if apart else None


def _changes(first: StarBlock, second: StarBlock) -> dict[str, float]:
    """Largest change of each column that differs, relative to its numbers; infinite for other text."""
    found = {}
    for label, left in first.columns.items():
        right = second.columns[label]
        if label.endswith(_FILE_LABELS):
            left, right = ([_without_folder(value) for value in side] for side in (left, right))
        if left != right:
            change = _relative_change(left, right, periodic=label.startswith(_PERIODIC))
            if change > 0.0:
                found[label] = change
    return found


def _without_folder(name: str) -> str:
    number, at, path = name.rpartition("@")
    return number + at + path.rpartition("/")[2]


def _relative_change(left: list[str], right: list[str], periodic: bool = False) -> float:
    try:
        a, b = np.array(left, dtype=np.float64), np.array(right, dtype=np.float64)
    except ValueError:
        return float("inf")
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return float("inf")
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return float("inf")
    difference = a[finite] - b[finite]
    if periodic:  # angles that differ by a turn are the same
        return float(np.abs((difference + 180.0) % 360.0 - 180.0).max(initial=0.0)) / 180.0
    scale = float(np.abs(np.concatenate([a[finite], b[finite]])).max(initial=0.0))
    return float(np.abs(difference).max(initial=0.0)) / scale if scale > 0 else 0.0


def _reordered(block: StarBlock, order: list[int]) -> StarBlock:
    """The rows in another order: programs sort particles as they please."""
    columns = {label: [values[row] for row in order] for label, values in block.columns.items()}
    return StarBlock(block.name, columns, block.is_loop, block.source)


def _particle_figures(first: Path, second: Path, symmetry: str) -> tuple[dict[str, Any], list[int] | None]:
    """Figures, and the row of the second table for each of the first when both hold the same particles."""
    left, right = (read_particles(path, require_ctf=False) for path in (first, second))
    order = same_particles(left, right)
    if order is None:
        return {"particles_in_common": len(set(_images(left)) & set(_images(right)))}, None
    return particle_figures(left, right.subset(order), symmetry), order


def particle_figures(left: Particles, right: Particles, symmetry: str) -> dict[str, Any]:
    """Pose, shift, defocus, class and half-set differences of the same particles in the same order."""
    figures: dict[str, Any] = {}
    if "rlnAngleRot" in left.columns and "rlnAngleRot" in right.columns:
        one, other = (euler_matrices(table.angles_degrees) for table in (left, right))
        operators = symmetry_matrices(symmetry)
        poses = compare_poses(one, other, left.origins_angstrom, right.origins_angstrom, operators)
        figures |= {
            "median_angle_degrees": float(np.median(poses.angle_degrees)),
            "within_5_degrees": poses.within(5.0),
            "median_shift_angstrom": float(np.median(poses.shift_angstrom)),
            "frame_turn_degrees": poses.frame_angle_degrees,
        }
    if "rlnDefocusU" in left.columns and "rlnDefocusU" in right.columns:
        mean = [(table.defocus_u_angstrom + table.defocus_v_angstrom) / 2.0 for table in (left, right)]
        figures["median_defocus_difference_angstrom"] = float(np.median(np.abs(mean[1] - mean[0])))
    if "rlnClassNumber" in left.columns and "rlnClassNumber" in right.columns:
        match = match_classes(left.column("rlnClassNumber"), right.column("rlnClassNumber"))
        figures |= {
            "adjusted_rand_index": match.adjusted_rand_index,
            "class_agreement": match.agreement,
            "largest_occupancy_difference": match.largest_occupancy_difference,
        }
    if "rlnRandomSubset" in left.columns and "rlnRandomSubset" in right.columns:
        same = left.column("rlnRandomSubset") == right.column("rlnRandomSubset")
        figures["same_half_fraction"] = float(same.mean())
    return figures


def _images(table: Particles) -> list[tuple[str, str]]:
    """Image number and stack, the folder left out."""
    return [(number.lstrip("0"), stack.rpartition("/")[2]) for number, _, stack in _parts(table)]


def _parts(table: Particles) -> list[tuple[str, str, str]]:
    return [name.partition("@") for name in table.image_names]


def same_particles(left: Particles, right: Particles) -> list[int] | None:
    """The row of ``right`` for each of ``left``, by image number and stack.

    None when they are not the same particles, each once.
    """
    position = {image: row for row, image in enumerate(_images(right))}
    images = _images(left)
    if len(position) != len(right) or len(images) != len(right) or set(images) != position.keys():
        return None
    return [position[image] for image in images]


def _told(figures: Mapping[str, Any]) -> list[str]:
    """The figures of particles that say most, as words."""
    told = []
    if "particles_in_common" in figures:
        told.append(f"other particles ({figures['particles_in_common']} in common)")
    if "median_angle_degrees" in figures:
        told.append(
            f"poses {figures['median_angle_degrees']:.2f} degrees and"
            f" {figures['median_shift_angstrom']:.2f} A apart (medians)"
        )
    if figures.get("adjusted_rand_index", 1.0) < 1.0:
        told.append(f"adjusted Rand index of classes {figures['adjusted_rand_index']:.3f}")
    half = figures.get("same_half_fraction", 1.0)
    if half < 1.0:
        told.append(
            "half sets exchanged as a whole" if half == 0.0 else f"{1.0 - half:.1%} of particles in the other half set"
        )
    return told
