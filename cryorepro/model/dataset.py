"""What a dataset declares of itself, and what preparing one of its tiers gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from cryorepro.model.base import Record
from cryorepro.model.deposit import ArchiveLayout, DatasetErratum, Evidence, Publication, TwinHint

Tier = Literal["twin", "subset", "full"]


class TierInfo(Record):
    """One size of a dataset: ``full`` (the deposit), ``subset`` (N real particles of it), ``twin`` (simulated)."""

    tier: Tier
    summary: str
    particles: int | None = None
    box_px: int | None = None
    pixel_size_angstrom: float | None = None
    size_bytes: int | None = None
    needs: str | None = Field(None, description="what a person must have to run it: disk, GPU memory, hours")
    missing: str | None = Field(None, description="what this version lacks to prepare the tier for a run")


class DatasetInfo(Record):
    """An archive entry as its plugin declares it. A fact that is not verified is None, never a guess.

    ``evidence`` says for a field where its value was read and how sure that is; ``unverified`` names what was
    looked for and not found.
    """

    name: str
    accession: str
    title: str
    sample: str
    voltage_kv: float | None = Field(None, gt=0)
    spherical_aberration_mm: float | None = Field(None, ge=0)
    amplitude_contrast: float | None = Field(None, ge=0, le=1)
    symmetry: str | None = None
    particle_diameter_angstrom: float | None = Field(None, gt=0)
    publication_doi: str | None = None
    emdb: list[str] = Field(default_factory=list)
    pdb: list[str] = Field(default_factory=list)
    licence: str | None = None
    tiers: list[TierInfo]
    download: list[str] = Field(default_factory=list, description="where the deposit is, as printed commands or URLs")
    publication: Publication | None = None
    dataset_doi: str | None = None
    molecular_mass_kda: float | None = Field(None, gt=0)
    microscope: str | None = None
    detector: str | None = None
    pixel_size_angstrom: float | None = Field(None, gt=0, description="of the deposited movies, or else images")
    physical_pixel_size_angstrom: float | None = Field(None, gt=0, description="when movies are super-resolution")
    total_dose_e_per_square_angstrom: float | None = Field(None, gt=0)
    dose_per_frame_e_per_square_angstrom: float | None = Field(None, gt=0)
    exposure_s: float | None = Field(None, gt=0)
    frames_per_movie: int | None = Field(None, ge=1)
    frame_shape_px: tuple[int, int] | None = Field(None, description="rows, columns")
    movie_format: str | None = None
    movies: int | None = Field(None, ge=1, description="in the archive")
    micrographs: int | None = Field(None, ge=1)
    defocus_um: tuple[float, float] | None = Field(None, description="least and most underfocus, positive")
    particles: dict[str, int] = Field(default_factory=dict, description="counts by the step they were left after")
    box_px: int | None = Field(None, ge=2)
    published_resolution_angstrom: float | None = Field(None, gt=0)
    initial_model: str | None = None
    size_bytes: int | None = Field(None, ge=0, description="of the whole archive entry, as a source states it")
    layout: ArchiveLayout | None = None
    errata: list[DatasetErratum] = Field(default_factory=list)
    twin: TwinHint | None = None
    evidence: dict[str, Evidence] = Field(default_factory=dict)
    unverified: list[str] = Field(default_factory=list)
    remarks: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _evidence_is_of_fields(self) -> Self:
        unknown = sorted(set(self.evidence) - set(type(self).model_fields))
        if unknown:
            raise ValueError(f"evidence is given for '{unknown[0]}', which is no field of a dataset")
        return self

    def tier(self, name: str) -> TierInfo | None:
        """The declared tier of that name."""
        return next((tier for tier in self.tiers if tier.tier == name), None)


class DataRequest(Record):
    """Ask a dataset for one tier in a directory.

    Files go below ``directory``; the truth of a twin goes below ``truth_directory`` and nowhere else.
    """

    tier: Tier
    directory: Path
    truth_directory: Path
    seed: int = Field(ge=0)
    local_path: Path | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    errata: list[dict[str, Any]] = Field(default_factory=list)


class AppliedErratum(Record):
    """A known defect of a deposit that was found in the file and repaired while reading."""

    id: str
    file: str
    evidence: str
    action: str


class PreparedData(Record):
    """One tier, ready: absolute paths by role (``particles``, ``reference``, ``model`` …)."""

    files: dict[str, Path]
    rows: dict[str, int] = Field(default_factory=dict)
    box_px: int | None = Field(None, description="of the particles; None where the data are movies or micrographs")
    pixel_size_angstrom: float
    voltage_kv: float
    errata: list[AppliedErratum] = Field(default_factory=list)
    origin: str = Field(description="where the pixels come from, in one sentence")
    parameters: dict[str, Any] = Field(default_factory=dict)
    has_truth: bool = False
