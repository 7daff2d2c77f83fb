"""The assurance axis: whose result this is compared with, by whom, on what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cryorepro.model.outcome import AssuranceWord

_ORDER: tuple[AssuranceWord, ...] = ("self-repeat", "other-system", "other-team")


def assurance(ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]) -> tuple[AssuranceWord, bool]:
    """How independent two groups of runs are, by their least independent pair, and whether the other side is signed.

    A run that came in a bundle is another team's, unless it was exported from this very store; of two runs of this
    store only machines are told apart (by a hash of the host's name).
    """
    pairs = [_pair(one, other) for one in ours for other in theirs]
    signed = bool(theirs) and all(bool((record.get("origin") or {}).get("signed")) for record in theirs)
    return min(pairs, key=_ORDER.index, default="self-repeat"), signed


def _pair(one: Mapping[str, Any], other: Mapping[str, Any]) -> AssuranceWord:
    if _team(one) != _team(other):
        return "other-team"
    hosts, others = ({attempt.get("host_hash") for attempt in record["attempts"]} - {None} for record in (one, other))
    return "other-system" if hosts and others and not hosts & others else "self-repeat"


def _team(record: Mapping[str, Any]) -> str:
    """Empty for this store's own runs, else the authors as a bundle names them."""
    origin = record.get("origin")
    if not origin or origin.get("own"):
        return ""
    authors = [author.get("orcid") or author.get("name") for author in origin.get("authors", [])]
    return "others: " + ", ".join(sorted(filter(None, authors)))
