"""A dataset for a person: facts with how sure each is, tiers, errata, what is not known."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cryorepro.model.dataset import DatasetInfo

_FACTS = {
    "sample": ("sample", ""),
    "molecular_mass_kda": ("molecular mass", " kDa"),
    "symmetry": ("symmetry", ""),
    "particle_diameter_angstrom": ("particle diameter", " A"),
    "microscope": ("microscope", ""),
    "detector": ("detector", ""),
    "voltage_kv": ("voltage", " kV"),
    "spherical_aberration_mm": ("spherical aberration", " mm"),
    "amplitude_contrast": ("amplitude contrast", ""),
    "pixel_size_angstrom": ("pixel size", " A"),
    "physical_pixel_size_angstrom": ("physical pixel size", " A"),
    "total_dose_e_per_square_angstrom": ("total dose", " e/A^2"),
    "dose_per_frame_e_per_square_angstrom": ("dose per frame", " e/A^2"),
    "exposure_s": ("exposure", " s"),
    "frames_per_movie": ("frames per movie", ""),
    "frame_shape_px": ("frame, rows x columns", ""),
    "movie_format": ("movie format", ""),
    "movies": ("movies", ""),
    "micrographs": ("micrographs", ""),
    "defocus_um": ("defocus", " um"),
    "particles": ("particles", ""),
    "box_px": ("box", " px"),
    "published_resolution_angstrom": ("published resolution", " A"),
    "initial_model": ("initial model", ""),
    "size_bytes": ("archive entry", ""),
    "emdb": ("EMDB", ""),
    "pdb": ("PDB", ""),
    "publication_doi": ("publication", ""),
    "dataset_doi": ("dataset DOI", ""),
    "licence": ("licence", ""),
}


def print_dataset(info: DatasetInfo) -> None:
    """Everything that is declared of a dataset."""
    out = Console()
    out.print(f"[bold]{info.name}[/bold]  {escape(info.title)}", highlight=False)
    facts = _table("fact", "value", "sure", "read in")
    sources = list(dict.fromkeys(source for one in info.evidence.values() for source in one.sources))
    for field, (label, unit) in _FACTS.items():
        value = getattr(info, field)
        if value in (None, [], {}):
            continue
        evidence = info.evidence.get(field)
        sure = evidence.confidence if evidence else "-"
        read = ", ".join(f"[{sources.index(source) + 1}]" for source in evidence.sources) if evidence else "-"
        note = f" {evidence.note}" if evidence and evidence.note else ""
        facts.add_row(label, escape(_shown(field, value) + unit), sure, escape(read + note))
    out.print(facts)
    for number, source in enumerate(sources, 1):
        out.print(f"[{number}] {source}", markup=False, highlight=False)
    out.print(_tiers(info))
    for erratum in info.errata:
        line = f"erratum {erratum.id} ({erratum.action}, {erratum.confidence}): {erratum.summary}; {erratum.evidence}"
        out.print(line, markup=False, highlight=False)
    for remark in info.remarks:
        out.print(f"remark  {remark}", markup=False, highlight=False)
    if info.unverified:
        out.print(f"looked for and not found: {', '.join(info.unverified)}", markup=False, highlight=False)
    for line in info.download:
        out.print(line, markup=False, highlight=False)


def _tiers(info: DatasetInfo) -> Table:
    table = _table("tier", "particles", "box", "pixel", "size", "needs", "summary", title="TIERS")
    for tier in info.tiers:
        missing = f"; cannot be prepared for a run yet, missing: {tier.missing}" if tier.missing else ""
        table.add_row(
            tier.tier, f"{tier.particles:,}" if tier.particles else "-", str(tier.box_px or "-"),
            f"{tier.pixel_size_angstrom:g} A" if tier.pixel_size_angstrom else "-",
            f"{tier.size_bytes / 1e6:,.0f} MB" if tier.size_bytes is not None else "-",
            escape(tier.needs or "-"), escape(tier.summary + missing),
        )  # fmt: skip
    return table


def _table(*columns: str, title: str | None = None) -> Table:
    return Table(*columns, title=title, title_justify="left", box=None, pad_edge=False)


def _shown(field: str, value: Any) -> str:
    if field == "size_bytes":
        return f"{value / 1e9:,.0f} GB"
    if isinstance(value, dict):
        return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in value.items())
    if field == "defocus_um":
        return f"{value[0]:g} to {value[1]:g}"
    if field == "frame_shape_px":
        return f"{value[0]} x {value[1]}"
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
