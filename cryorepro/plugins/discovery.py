"""Which entry points exist, and the identity of the distributions they come from. Imports no plugin."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from importlib import metadata
from typing import Any

GROUP = "cryorepro"
FIRST_PARTY = "cryorepro"


@dataclass(frozen=True)
class Provenance:
    """Identity of an installed distribution.

    ``record_sha256`` is the digest of its RECORD as UTF-8 text with LF line ends: it pins every installed
    file, except of an editable install, whose RECORD names only a pointer to the source tree.
    """

    distribution: str
    version: str
    editable: bool = False
    record_sha256: str | None = None
    vcs_commit: str | None = None


@dataclass(frozen=True)
class Candidate:
    """An entry point of the group that may be loaded."""

    name: str
    module: str
    provenance: Provenance
    problem: str | None = None
    """Why it cannot even be tried."""

    @property
    def first_party(self) -> bool:
        """Whether cryorepro itself ships it."""
        return normalised(self.provenance.distribution) == FIRST_PARTY

    @property
    def key(self) -> str:
        """Unique among installed plugins."""
        return f"{normalised(self.provenance.distribution)}:{self.name}"


def normalised(distribution: str) -> str:
    """A distribution name as the packaging index compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def candidates() -> list[Candidate]:
    """Entry points of the group ``cryorepro``: first party first, then by distribution and name.

    Where a distribution lies on the path twice the first one counts, as for imports.
    """
    found: dict[str, list[Candidate]] = {}
    for distribution in metadata.distributions():
        entries = _entry_points(distribution)
        if entries:
            provenance = provenance_of(distribution)
            rows = [_candidate(entry, provenance) for entry in entries]
            found.setdefault(normalised(provenance.distribution), rows)
    every = [row for rows in found.values() for row in rows]
    return sorted(every, key=lambda row: (not row.first_party, row.key))


def _entry_points(distribution: metadata.Distribution) -> list[metadata.EntryPoint]:
    # The text is looked at first: parsing the entry points of every installed package takes most of the time.
    try:
        text = distribution.read_text("entry_points.txt") or ""
        if f"[{GROUP}]" not in text.replace(" ", ""):
            return []
        return list(distribution.entry_points.select(group=GROUP))
    except (OSError, ValueError, TypeError) as error:
        broken = metadata.EntryPoint(name="?", value=f"unreadable entry points: {error}", group=GROUP)
        return [broken]


def _candidate(entry: metadata.EntryPoint, provenance: Provenance) -> Candidate:
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", entry.value):
        problem = f"its entry point must name a module, not '{entry.value}'"
        return Candidate(entry.name, entry.value, provenance, problem)
    return Candidate(entry.name, entry.value, provenance)


def provenance_of(distribution: metadata.Distribution) -> Provenance:
    """Name, version, digest of RECORD, and how it was installed; a missing field is said, never raised."""
    direct = _direct_url(distribution)
    record = _read(distribution, "RECORD")
    return Provenance(
        distribution=_field(distribution, "Name"),
        version=_field(distribution, "Version"),
        editable=_section(direct, "dir_info").get("editable") is True,
        record_sha256=hashlib.sha256(record.encode()).hexdigest() if record else None,
        vcs_commit=_commit(_section(direct, "vcs_info").get("commit_id")),
    )


def _field(distribution: metadata.Distribution, name: str) -> str:
    try:
        value = distribution.metadata[name]
    except (KeyError, OSError, ValueError, AttributeError, TypeError):
        value = None
    return value if isinstance(value, str) and value else "unknown"


def _read(distribution: metadata.Distribution, name: str) -> str | None:
    try:
        return distribution.read_text(name)
    except (OSError, ValueError):
        return None


def _direct_url(distribution: metadata.Distribution) -> dict[str, Any]:
    try:
        parsed = json.loads(_read(distribution, "direct_url.json") or "{}")
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _section(direct: dict[str, Any], name: str) -> dict[str, Any]:
    value = direct.get(name)
    return value if isinstance(value, dict) else {}


def _commit(value: object) -> str | None:
    return value if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{7,64}", value) else None
