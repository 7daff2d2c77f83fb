"""EMDB and PDB: maps, half maps, FSC curves and models of an entry."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from cryorepro.em.errors import InputError
from cryorepro.workflow.fetch.cache import MAPS, Cache
from cryorepro.workflow.fetch.errors import FetchError
from cryorepro.workflow.fetch.files import fetch_file
from cryorepro.workflow.fetch.listing import list_folder
from cryorepro.workflow.fetch.manifest import expected, known_files, safe_path
from cryorepro.workflow.fetch.sources import EMDB_API, PDB_HTTPS, emdb
from cryorepro.workflow.fetch.text import read_json
from cryorepro.workflow.fetch.transfer import Transfer

Extra = Literal["map", "half-maps", "fsc", "model"]
EXTRAS: tuple[Extra, ...] = ("map", "half-maps", "fsc", "model")
_EMDB = re.compile(r"^EMD-\d{4,5}$")
_PDB = re.compile(r"^[0-9][0-9A-Za-z]{3}$")


def map_path(accession: str) -> str:
    """Path of the primary map in the entry's tree: ``map/emd_2660.map.gz``."""
    return f"map/emd_{_number(accession)}.map.gz"


def emdb_paths(transfer: Transfer, accession: str, extras: Iterable[Extra]) -> list[str]:
    """Paths of an entry's files, by EMDB's own record and folders.

    Raises:
        FetchError: EMDB does not answer, or the entry has no file of that kind; the sentence names it.
    """
    paths: list[str] = []
    wanted = set(extras)
    if "map" in wanted:
        paths.append(map_path(accession))
    if "half-maps" in wanted:
        halves = half_map_names(read_json(transfer, f"{EMDB_API}{accession}"))
        if not halves:
            raise FetchError(f"{accession}: EMDB lists no half maps for this entry")
        paths += [f"other/{name}" for name in halves]
    if "fsc" in wanted:
        names = [name for name in list_folder(transfer, emdb(accession), "fsc") if name.endswith(".xml")]
        if not names:
            raise FetchError(f"{accession}: EMDB holds no FSC curve of this entry")
        paths += [f"fsc/{name}" for name in names]
    return paths


def half_map_names(entry: dict[str, Any]) -> list[str]:
    """File names of the half maps in EMDB's record of an entry; none where it lists none.

    Raises:
        FetchError: the record is not of the form EMDB documents.
    """
    listed: Any = entry
    for key in ("interpretation", "half_map_list", "half_map"):
        if not isinstance(listed, dict) or key not in listed:
            return []
        listed = listed[key]
    try:
        return [safe_path(str(half["file"])) for half in listed]
    except (TypeError, KeyError) as error:
        raise FetchError("EMDB's record of the half maps is not of the form it documents") from error


def fetch_emdb(cache: Cache, transfer: Transfer, dataset: str, accession: str, paths: Sequence[str]) -> list[Path]:
    """Fetch files of an EMDB entry into ``maps/ACCESSION/``."""
    known = known_files(dataset)
    return [
        fetch_file(cache, transfer, f"{MAPS}/{accession}/{path}", emdb(accession).urls(path), expected(known, path))
        for path in paths
    ]


def fetch_model(cache: Cache, transfer: Transfer, dataset: str, pdb: str) -> Path:
    """Fetch the mmCIF file of a PDB entry into ``maps/``."""
    if not _PDB.match(pdb):
        raise InputError(f"{pdb!r} is not a PDB code")
    name = f"{pdb.upper()}.cif"
    return fetch_file(cache, transfer, f"{MAPS}/{name}", [PDB_HTTPS + name], expected(known_files(dataset), name))


def _number(accession: str) -> str:
    if not _EMDB.match(accession):
        raise InputError(f"{accession!r} is not an EMDB accession")
    return accession.removeprefix("EMD-")
