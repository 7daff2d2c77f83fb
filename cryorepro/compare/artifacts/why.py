"""Why final maps of two runs differ, where a known mistake explains it: hand, pixel size, symmetry, mask, halves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryorepro.compare.artifacts.classes import explain_classes
from cryorepro.compare.artifacts.divergence import Divergence
from cryorepro.compare.artifacts.locate import Artifact, stage_files
from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map
from cryorepro.em.lowpass import Map
from cryorepro.em.map_comparison import mean_fsc
from cryorepro.em.map_diagnosis import diagnose_map, sentences
from cryorepro.em.postprocess import mask_fraction

_AGREES = 0.98


def explain_maps(
    found: Divergence, first: Path, first_record: Mapping[str, Any], second: Path, second_record: Mapping[str, Any]
) -> list[str]:
    """Sentences for the first map, mask and half maps among the outputs that are different beyond rounding."""
    left, right = (
        {stage.stage: stage.outputs for stage in stage_files(directory, record)}
        for directory, record in ((first, first_record), (second, second_record))
    )
    told: list[str] = []
    open_roles = {"map", "mask"}  # what is wrong with the first map is wrong with all that were made from it
    for stage in found.stages:
        roles = [pair.name for pair in stage.outputs if pair.word == "different" and stage.stage != "data"]
        for role in sorted(open_roles.intersection(roles)):
            pair = [side.get(stage.stage, {}).get(role) for side in (left, right)]
            if pair[0] is not None and pair[1] is not None:
                told += [f"{stage.stage}.{role}: {text}" for text in _explained(role, pair[0], pair[1], first_record)]
                open_roles.discard(role)
        if any(role.startswith("class0") for role in roles):
            told += [f"{stage.stage}: {text}" for text in explain_classes(left[stage.stage], right[stage.stage])]
        if "half1" in roles:
            told += [f"{stage.stage}: {text}" for text in _halves(left[stage.stage], right[stage.stage])]
    return told


def _explained(role: str, one: Artifact, other: Artifact, record: Mapping[str, Any]) -> list[str]:
    try:
        (fixed, pixel), (moving, other_pixel) = read_map(one.path), read_map(other.path)
        if fixed.shape != moving.shape:
            return [f"boxes of {fixed.shape[0]} and {moving.shape[0]} voxels"]
        if role == "mask":
            return [_masks(fixed, moving)]
        if abs(pixel / other_pixel - 1.0) > 1e-4:
            return [f"wrong pixel size: voxels of {pixel:.5g} A and {other_pixel:.5g} A"]
        if mean_fsc(fixed, moving) > _AGREES:
            return []
        return sentences(diagnose_map(moving, fixed, pixel, _expected_symmetry(record)))
    except InputError as error:
        return [str(error)]


def _expected_symmetry(record: Mapping[str, Any]) -> str:
    return str(((record["data"] or {}).get("parameters") or {}).get("symmetry", "C1"))


def _masks(first: Map, second: Map) -> str:
    one, other = (volume > 0.5 for volume in (first, second))
    either = int((one | other).sum())
    share = int((one & other).sum()) / either if either else 1.0
    ratio = mask_fraction(first) / mask_fraction(second)
    return f"changed mask: the second has {ratio:.2f} times the volume of the first, {share:.0%} of both in common"


def _halves(left: Mapping[str, Artifact], right: Mapping[str, Artifact]) -> list[str]:
    """Whether the second run's halves are the first's, exchanged."""
    try:
        one = [read_map(left[role].path)[0] for role in ("half1", "half2")]
        other = [read_map(right[role].path)[0] for role in ("half1", "half2")]
    except (InputError, KeyError):
        return []
    if len({volume.shape for volume in (*one, *other)}) > 1:
        return []
    straight = _noise(one[0], other[0]) + _noise(one[1], other[1])
    crossed = _noise(one[0], other[1]) + _noise(one[1], other[0])
    return ["half sets swapped: the noise of half 1 here is that of half 2 there"] if crossed > straight + 0.5 else []


def _noise(first: Map, second: Map) -> float:
    """Mean FSC over the outer third of the shells."""
    from cryorepro.em.fsc import fsc_curve

    half = first.shape[0] // 2
    return float(fsc_curve(first, second)[2 * half // 3 : half].mean())
