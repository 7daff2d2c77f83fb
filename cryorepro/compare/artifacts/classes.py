"""Class maps of two runs under the matching of their particles: which class is which, and how far their maps agree."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from cryorepro.compare.artifacts.locate import Artifact
from cryorepro.compare.artifacts.tables import same_particles
from cryorepro.em.class_matching import ClassMatch, match_classes
from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.fsc import crossing, fsc_curve

_CLASS = re.compile(r"class(\d{3})")


def explain_classes(left: Mapping[str, Artifact], right: Mapping[str, Artifact]) -> list[str]:
    """One sentence for a stage with more than one class map; none when its particles cannot be matched.

    Maps are compared as they lie: classes of two runs may have turned against each other, and agree further than told.
    """
    roles = [role for role in left if _CLASS.fullmatch(role) and role in right]
    if len(roles) < 2 or "particles" not in left or "particles" not in right:
        return []
    try:
        match = _matched(left["particles"], right["particles"])
        if match is None:
            return []
        pairs = ", ".join(_pair(first, second, left, right) for first, second in match.pairs)
    except InputError as error:
        return [str(error)]
    return [
        f"{match.agreement:.1%} of particles agree when classes are matched (adjusted Rand index"
        f" {match.adjusted_rand_index:.3f}, occupancies within {match.largest_occupancy_difference:.3f}): {pairs}"
    ]


def _matched(first: Artifact, second: Artifact) -> ClassMatch | None:
    left, right = (read_particles(artifact.path, require_ctf=False) for artifact in (first, second))
    order = same_particles(left, right)
    if order is None:
        return None
    return match_classes(left.column("rlnClassNumber"), right.column("rlnClassNumber")[np.asarray(order)])


def _pair(first: int, second: int, left: Mapping[str, Artifact], right: Mapping[str, Artifact]) -> str:
    names = f"class{first:03d}", f"class{second:03d}"
    told = f"class {first} is class {second}"
    if names[0] not in left or names[1] not in right:
        return told
    one, other = read_map(left[names[0]].path)[0], read_map(right[names[1]].path)[0]
    if one.shape != other.shape:
        return f"{told} (in another box)"
    shell = crossing(fsc_curve(one, other), 0.5).shell
    return f"{told} (FSC 0.5 at shell {shell} of {one.shape[0] // 2})"
