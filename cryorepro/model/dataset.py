"""What a dataset declares of itself, and what preparing one of its tiers gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from cryorepro.model.base import Record

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


class DatasetInfo(Record):
    """An archive entry as its plugin declares it."""

    name: str
    accession: str
    title: str
    sample: str
    voltage_kv: float
    spherical_aberration_mm: float | None
    amplitude_contrast: float | None
    symmetry: str
    particle_diameter_angstrom: float
    publication_doi: str | None = None
    emdb: list[str] = Field(default_factory=list)
    pdb: list[str] = Field(default_factory=list)
    licence: str | None = None
    tiers: list[TierInfo]
    download: list[str] = Field(default_factory=list, description="where the deposit is, as printed commands or URLs")


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
    box_px: int
    pixel_size_angstrom: float
    voltage_kv: float
    errata: list[AppliedErratum] = Field(default_factory=list)
    origin: str = Field(description="where the pixels come from, in one sentence")
    parameters: dict[str, Any] = Field(default_factory=dict)
    has_truth: bool = False
