"""What a tier of a dataset consists of in the archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

import numpy as np

from cryorepro.em.errors import InputError
from cryorepro.em.streams import random_stream
from cryorepro.model.dataset import DatasetInfo
from cryorepro.model.deposit import ArchiveLayout, Bundle
from cryorepro.workflow.fetch.listing import list_files
from cryorepro.workflow.fetch.sources import Sources
from cryorepro.workflow.fetch.transfer import Transfer

RealTier = Literal["subset", "full"]


@dataclass(frozen=True)
class TierFiles:
    """Files of the archive that make a tier.

    Attributes:
        whole: Paths fetched whole.
        movies: Those of `whole` that are the chosen movies or micrographs, with their row of the sorted list.
        bundles: Packed parts elsewhere.
        discarded: Names left out because of an erratum.
        available: How many movies the archive lists.
    """

    whole: list[str]
    movies: dict[str, int]
    bundles: list[Bundle]
    discarded: list[str]
    available: int = 0


def patterns(layout: ArchiveLayout, tier: RealTier) -> list[str]:
    """What a tier is made of, as paths and patterns; particles of a subset are read by ranges and are not here."""
    fixed = [*layout.metadata, *layout.gain, *([layout.particles_star] if layout.particles_star else [])]
    if tier == "full" and layout.particles:
        return [*layout.metadata, *layout.particles]
    if tier == "subset" and layout.particles_star:
        return [layout.particles_star]
    return [*fixed, *(layout.movies or layout.micrographs)]


def require_layout(info: DatasetInfo, tier: RealTier) -> ArchiveLayout:
    """The layout, when the tier can be fetched.

    Raises:
        InputError: it cannot; the sentence says what is not known.
    """
    declared, layout = info.tier(tier), info.layout
    if declared is None:
        offered = ", ".join(f"'{one.tier}'" for one in info.tiers if one.tier != "twin") or "none"
        raise InputError(f"{info.name}: tier '{tier}' is not declared; real tiers are {offered}")
    bundled = layout is not None and any(bundle.tier == tier for bundle in layout.bundles)
    listed = layout is not None and bool(layout.movies or layout.micrographs or layout.particles)
    if layout is None or not (bundled or listed):
        raise InputError(f"{info.name}: tier '{tier}' cannot be fetched; missing: {declared.missing or 'its layout'}")
    return layout


def movie_files(
    transfer: Transfer,
    sources: Sources,
    info: DatasetInfo,
    layout: ArchiveLayout,
    tier: RealTier,
    count: int,
    seed: int,
) -> TierFiles:
    """Files of a tier that is made of whole files; lists the archive's folders.

    Raises:
        FetchError: the archive does not answer.
        InputError: more movies are asked for than there are.
    """
    bundles = [bundle for bundle in layout.bundles if bundle.tier == tier]
    listed = layout.particles if tier == "full" and layout.particles else layout.movies or layout.micrographs
    if not listed:
        return TierFiles([], {}, bundles, [])
    found = [path for pattern in listed for path in list_files(transfer, sources, pattern)]
    dropped = discarded_names(info)
    kept = [path for path in found if PurePosixPath(path).name not in dropped]
    rows = {path: row for row, path in enumerate(kept, 1)}
    if tier == "subset":
        rows = {path: rows[path] for path in draw(kept, count, seed, info.name)}
    fixed = [*layout.metadata, *layout.gain]
    gone = sorted({PurePosixPath(path).name for path in found} & dropped)
    return TierFiles([*fixed, *rows], rows, [], gone, len(kept))


def draw(paths: Sequence[str], count: int, seed: int, name: str) -> list[str]:
    """A seeded choice, in the order of the list."""
    if not 1 <= count <= len(paths):
        raise InputError(f"{name}: {count} movies are asked for, and the archive lists {len(paths)}")
    chosen = np.sort(random_stream(seed, "subset").choice(len(paths), size=count, replace=False))
    return [paths[int(i)] for i in chosen]


def discarded_names(info: DatasetInfo) -> frozenset[str]:
    """Names of files that an erratum takes out."""
    return frozenset(name for erratum in info.errata if erratum.action == "discard-file" for name in erratum.files)
