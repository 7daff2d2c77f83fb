"""A run here held against the authors' run: outcome by outcome, within the margins the benchmark declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryorepro.bundle.layout import SIGNATURE
from cryorepro.bundle.read import Bundle
from cryorepro.bundle.signing import at_hand
from cryorepro.compare.verdict.between import Between, Comparison, compare_groups
from cryorepro.model.benchmark import Benchmark
from cryorepro.store.chain import EVENTS
from cryorepro.store.home import Home

__all__ = ["Between", "Comparison", "bundle_origin", "hold_against"]


def hold_against(benchmark: Benchmark, theirs: Mapping[str, Any], here: Mapping[str, Any]) -> Between:
    """Compare two records of one benchmark on all three axes.

    One run on either side has no spread of its own, so the best words are ``identical`` (the same bytes), ``numerical``
    (the same numbers from the same seeds) and ``within-band-n1``.
    """
    return compare_groups(benchmark, [theirs], [here])


def bundle_origin(bundle: Bundle, home: Home) -> dict[str, Any]:
    """Whose a verified bundle's run is: its authors, whether it is signed, and whether it left this very store."""
    return {
        "origin": "bundle",
        "authors": [author.model_dump(mode="json") for author in bundle.facts.info.authors],
        "signed": SIGNATURE in bundle.sums and at_hand(),
        "own": (home.runs / bundle.facts.run / EVENTS).is_file(),
    }
