"""Archive entries as data: one YAML file per dataset in ``entries/``, facts with their evidence."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from cryorepro.em.errors import InputError
from cryorepro.model.base import Record
from cryorepro.model.dataset import DatasetInfo
from cryorepro.model.deposit import Confidence, Evidence
from cryorepro.model.strict_yaml import compose, plain

ENTRIES = Path(__file__).resolve().parent / "entries"
SOURCES = "sources.yaml"
_BASE = "https://ftp.ebi.ac.uk/empiar/world_availability/"


class SharedEvidence(Record):
    """Evidence that several fields have in common; sources by their code in ``sources.yaml``."""

    fields: list[str] = Field(min_length=1)
    confidence: Confidence
    sources: list[str] = Field(min_length=1)
    note: str | None = None


def load_entry(name: str, **changes: Any) -> DatasetInfo:
    """The dataset of ``entries/NAME.yaml``, with fields given by code added.

    Raises:
        InputError: the file is malformed, names a source that is not listed, or gives evidence twice.
    """
    path = ENTRIES / f"{name}.yaml"
    content = plain(compose(path), path)
    if not isinstance(content, dict) or content.get("name") != name:
        raise InputError(f"{path}: is not the entry of '{name}'")
    try:
        groups = [SharedEvidence.model_validate(group) for group in content.pop("evidence", [])]
        content = {"tiers": [], "download": _download(name)} | content | changes
        return DatasetInfo.model_validate(content | {"evidence": _evidence(path, groups)})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: field '{field}': {first['msg']}") from error


def _download(name: str) -> list[str]:
    return [f"wget -r -np -nH --cut-dirs=2 {_BASE}{name.removeprefix('empiar-')}/data/"]


def _evidence(path: Path, groups: list[SharedEvidence]) -> dict[str, Evidence]:
    titles = _sources()
    found: dict[str, Evidence] = {}
    for group in groups:
        unknown = [code for code in group.sources if code not in titles]
        if unknown:
            raise InputError(f"{path}: source {unknown[0]} is not in {SOURCES}")
        sources = [titles[code] for code in group.sources]
        for field in group.fields:
            if field in found:
                raise InputError(f"{path}: evidence for '{field}' is given twice")
            found[field] = Evidence(confidence=group.confidence, sources=sources, note=group.note)
    return found


@lru_cache(maxsize=1)
def _sources() -> dict[str, str]:
    """Titles of the sources by code."""
    path = ENTRIES / SOURCES
    content = plain(compose(path), path)
    if not isinstance(content, dict) or not all(isinstance(title, str) for title in content.values()):
        raise InputError(f"{path}: a mapping of codes to titles was expected")
    return content
