"""Two runs' files and surroundings in one answer: where they part, why, and what may have caused it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryorepro.compare.artifacts.divergence import Divergence, find_divergence
from cryorepro.compare.artifacts.environment import Suspect, rank_suspects
from cryorepro.compare.artifacts.why import explain_maps
from cryorepro.model.base import Record


class Parting(Record):
    """Where two runs part (None when the files of one are not at hand), explanations, and ranked suspects."""

    divergence: Divergence | None
    explanations: tuple[str, ...]
    suspects: tuple[Suspect, ...]
    note: str | None = None


def parting(
    first: Path | None, first_record: Mapping[str, Any], second: Path | None, second_record: Mapping[str, Any]
) -> Parting:
    """Compare the files of two runs and rank what their surroundings have apart.

    Args:
        first: directory of a run; None when only its record is there (a bundle that was not imported).
        first_record: its record (``workflow.record.run_record``).
        second: directory of the other.
        second_record: its record.
    """
    suspects = tuple(rank_suspects(first_record, second_record))
    if first is None or second is None:
        note = "a bundle's files are compared after cryorepro import"
        return Parting(divergence=None, explanations=(), suspects=suspects, note=note)
    found = find_divergence(first, first_record, second, second_record)
    told = explain_maps(found, first, first_record, second, second_record)
    return Parting(divergence=found, explanations=tuple(told), suspects=suspects)
