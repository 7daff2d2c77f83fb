"""What is known of a deposit beside its optics: publication, files, defects, and how sure each fact is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cryorepro.model.base import Record

Confidence = Literal["primary", "secondary", "seed", "derived", "inferred", "unverified"]
"""Read in the paper or the official page; in a third party's page; in a source of the project, not confirmed;
computed from other entries; concluded from indirect evidence; not found."""
Doi = Annotated[str, Field(pattern=r"^10\.\d{4,9}/\S+$")]
ArchivePath = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^/].*$")]


class Author(Record):
    """Family and given name as printed."""

    family: str
    given: str | None = None


class Publication(Record):
    """The paper of a deposit. `authors` ends in ``others`` when not all were read."""

    title: str
    authors: list[Author] = Field(min_length=1)
    others: bool = False
    journal: str
    year: int = Field(ge=1900, le=2100)
    volume: str | None = None
    pages: str | None = None
    doi: Doi
    pmcid: str | None = None


class Evidence(Record):
    """Where a value was read and how sure it is."""

    confidence: Confidence
    sources: list[str] = Field(default_factory=list)
    note: str | None = None


class Bundle(Record):
    """A packed part of the data at an address outside the archive entry."""

    url: Annotated[str, Field(pattern=r"^(https|ftp)://\S+$")]
    tier: Literal["subset", "full"]
    summary: str
    size_bytes: int | None = None


class ArchiveLayout(Record):
    """Where files lie in an EMPIAR entry. Patterns may use ``*`` in the last parts of a path."""

    metadata: list[ArchivePath] = Field(default_factory=list)
    particles_star: ArchivePath | None = None
    particles: list[ArchivePath] = Field(default_factory=list)
    movies: list[ArchivePath] = Field(default_factory=list)
    micrographs: list[ArchivePath] = Field(default_factory=list)
    gain: list[ArchivePath] = Field(default_factory=list)
    bundles: list[Bundle] = Field(default_factory=list)
    subset_movies: int = Field(10, ge=1, description="movies or micrographs of a subset, unless a person says how many")


class DatasetErratum(Record):
    """A known defect of a deposit. ``discard-file`` is applied when movies are listed; the others are for stages."""

    id: str
    action: Literal["drop-line", "discard-file", "flip-gain-y", "rotate-gain-270", "note"]
    files: list[str] = Field(default_factory=list, description="names without folders")
    summary: str
    evidence: str
    confidence: Confidence


class TwinHint(Record):
    """What a simulated twin of the dataset would be made from, as far as it is known."""

    model: str | None = Field(None, description="PDB entry of the sample, or of a stand-in")
    stand_in: bool = False
    box_px: int | None = None
    pixel_size_angstrom: float | None = None
    particle_diameter_angstrom: float | None = None
    symmetry: str | None = None
    summary: str
