"""The addresses a file of an archive entry can be had from, in the order they are tried."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from cryorepro.workflow.fetch.manifest import safe_path

EMPIAR_HTTPS = "https://ftp.ebi.ac.uk/empiar/world_availability/"
EMPIAR_FTP = "ftp://ftp.ebi.ac.uk/empiar/world_availability/"
EMDB_HTTPS = "https://ftp.ebi.ac.uk/pub/databases/emdb/structures/"
EMDB_FTP = "ftp://ftp.ebi.ac.uk/pub/databases/emdb/structures/"
PDB_HTTPS = "https://files.rcsb.org/download/"
EMPIAR_API = "https://www.ebi.ac.uk/empiar/api/entry/"
EMDB_API = "https://www.ebi.ac.uk/emdb/api/entry/"


@dataclass(frozen=True, slots=True)
class Sources:
    """Base addresses of one tree, each ending in a slash."""

    bases: tuple[str, ...]

    def urls(self, path: str) -> list[str]:
        """Addresses of a file, its path checked and quoted."""
        quoted = quote(safe_path(path))
        return [base + quoted for base in self.bases]


def empiar(number: str) -> Sources:
    """The tree of an EMPIAR entry, such as ``10028``."""
    return Sources((f"{EMPIAR_HTTPS}{number}/", f"{EMPIAR_FTP}{number}/"))


def emdb(accession: str) -> Sources:
    """The tree of an EMDB entry, such as ``EMD-2660``."""
    return Sources((f"{EMDB_HTTPS}{accession}/", f"{EMDB_FTP}{accession}/"))
