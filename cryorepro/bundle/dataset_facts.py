"""What a bundle says of the dataset: a fixed part of its declaration, so that old bundles stay readable."""

from __future__ import annotations

from pydantic import Field

from cryorepro.model.base import Record
from cryorepro.model.dataset import DatasetInfo


class Person(Record):
    """An author of the deposit's paper."""

    family: str
    given: str


class Paper(Record):
    """The deposit's paper; ``others`` when not all its authors were read."""

    title: str
    authors: list[Person]
    others: bool = False
    journal: str
    year: int
    volume: str | None = None
    pages: str | None = None
    doi: str


class DatasetFacts(Record):
    """An archive entry; what nobody verified is None."""

    name: str
    accession: str
    title: str
    sample: str
    voltage_kv: float | None = None
    spherical_aberration_mm: float | None = None
    amplitude_contrast: float | None = None
    symmetry: str | None = None
    particle_diameter_angstrom: float | None = None
    publication_doi: str | None = None
    publication: Paper | None = None
    dataset_doi: str | None = None
    emdb: list[str] = Field(default_factory=list)
    pdb: list[str] = Field(default_factory=list)
    licence: str | None = None
    microscope: str | None = None
    detector: str | None = None
    pixel_size_angstrom: float | None = None
    total_dose_e_per_square_angstrom: float | None = None
    frames_per_movie: int | None = None
    movies: int | None = None
    micrographs: int | None = None
    defocus_um: list[float] | None = Field(None, description="least and most underfocus")


def dataset_facts(info: DatasetInfo) -> DatasetFacts:
    """The part of a plugin's declaration that goes into a bundle."""
    declared = info.model_dump(mode="json")
    kept = {name: declared[name] for name in DatasetFacts.model_fields if name in declared}
    if kept.get("publication"):
        paper = {name: value for name, value in kept["publication"].items() if name in Paper.model_fields}
        people = [{"family": row["family"], "given": row["given"]} for row in paper["authors"]]
        kept["publication"] = {**paper, "authors": people}
    return DatasetFacts.model_validate(kept)
