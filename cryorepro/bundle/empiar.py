"""A draft of an EMPIAR deposition of the particles a run used, with the run as its workflow.

Field names, enumerations and patterns follow the deposition schema of EMPIAR's own depositor (emdb-empiar/
empiar-depositor, ``empiar_deposition.schema.json``). What only a depositor knows (addresses, a paper's title) is
left empty, and :func:`deposition_problems` names it; nothing is invented to satisfy the schema.
"""

from __future__ import annotations

import re
from typing import Any

from cryorepro.bundle.citation import split_name, title
from cryorepro.bundle.facts import Author, Facts
from cryorepro.bundle.strict_json import render_json

SIMULATED, RAW_IMAGES = 2, 3
MOLECULE = "1"
WORKFLOWHUB = 1
_EMPIAR = re.compile(r"EMPIAR-\d+")
_PARTICLES, _MRCS, _FLOAT = "('T7', '')", "('T2', '')", "('T7', '')"
_NAME = re.compile(r"\('[^0-9!\"£$%^&*()]+', '[^0-9!\"£$%^&*()]+'\)")
_CODE = re.compile(r"\('T([1-9]|10)', ''\)|\('OT', '[^\0]+'\)")
_REQUIRED = (
    "title", "release_date", "experiment_type", "authors", "corresponding_author", "principal_investigator",
    "imagesets", "citation",
)  # fmt: skip
_PERSON = ("first_name", "last_name", "organization", "email", "country")
_IMAGESET = (
    "name", "directory", "category", "header_format", "data_format", "num_images_or_tilt_series", "frames_per_image",
    "voxel_type",
)  # fmt: skip
_CITATION = ("authors", "published", "j_or_nj_citation", "title")


def deposition(facts: Facts) -> dict[str, Any]:
    """The draft, as the depositor takes it."""
    info, data = facts.dataset, facts.record["data"]
    authors = [_author(author, index) for index, author in enumerate(facts.info.authors)]
    person = _person(facts.info.authors[0])
    return {
        "title": title(facts)[:255],
        "release_date": "HP",
        "experiment_type": SIMULATED if facts.settings["tier"] == "twin" else RAW_IMAGES,
        "scale": MOLECULE,
        "cross_references": [{"name": name} for name in (info.emdb if info else [])],
        "empiar_references": [{"name": info.accession}] if info and _EMPIAR.fullmatch(info.accession) else [],
        "authors": authors,
        "corresponding_author": person,
        "principal_investigator": [person],
        "workflows": [{"url": facts.info.workflow, "type": WORKFLOWHUB}] if facts.info.workflow else [],
        "workflow_file": {"path": "data/ro-crate-metadata.json"},
        "imagesets": [_imageset(facts, data)] if data else [],
        "citation": [{
            "authors": authors, "editors": [], "published": False, "j_or_nj_citation": True, "title": "", "doi": None,
        }],
    }  # fmt: skip


def _author(author: Author, index: int) -> dict[str, Any]:
    given, family = split_name(author)
    initials = "".join(part[0].upper() for part in given.replace("-", " ").split())
    return {"name": f"('{family}', '{initials}')", "order_id": index, "author_orcid": author.orcid}


def _person(author: Author) -> dict[str, Any]:
    given, family = split_name(author)
    return {
        "author_orcid": author.orcid, "first_name": given, "middle_name": None, "last_name": family,
        "organization": author.affiliation or "", "street": None, "town_or_city": "", "state_or_province": None,
        "post_or_zip": "", "telephone": None, "fax": None, "email": "", "country": "",
    }  # fmt: skip


def _imageset(facts: Facts, data: dict[str, Any]) -> dict[str, Any]:
    values = [outcome["value"] for outcome in facts.record["outcomes"].values() if outcome["value"]]
    pixel = data["parameters"].get("pixel_size_angstrom") or next(
        (value["pixel_size_angstrom"] for value in values if value["pixel_size_angstrom"]), None
    )
    box = data["parameters"].get("box_px") or next((value["box_px"] for value in values if value["box_px"]), None)
    return {
        "name": f"{data['dataset']}, tier {data['tier']}: {data['origin']}"[:200],
        "directory": "data/particles",
        "category": _PARTICLES,
        "header_format": _MRCS,
        "data_format": _MRCS,
        "num_images_or_tilt_series": int(data["rows"].get("particles", 0)),
        "frames_per_image": 1,
        "voxel_type": _FLOAT,
        "pixel_width": pixel,
        "pixel_height": pixel,
        "image_width": box,
        "image_height": box,
        "details": f"Particles as used by run {facts.run}; checksums in its RO-Crate.",
        "picked_particles_file_pattern": "data/particles/particles.star",
    }


def deposition_json(facts: Facts) -> bytes:
    """The draft as a file."""
    return render_json(deposition(facts))


def deposition_problems(draft: dict[str, Any]) -> list[str]:
    """What still keeps ``draft`` from being accepted, field by field; empty when nothing does."""
    found = [f"{name}: missing" for name in _REQUIRED if name not in draft]
    if found:
        return found
    if not 10 <= len(draft["title"]) <= 255:
        found.append("title: must have 10 to 255 characters")
    if draft["release_date"] not in ("RE", "EP", "HP", "HO"):
        found.append("release_date: must be RE, EP, HP or HO")
    if type(draft["experiment_type"]) is not int or not 1 <= draft["experiment_type"] <= 13:
        found.append("experiment_type: must be 1 to 13")
    found += _author_problems(draft["authors"], "authors")
    for path, person in [
        ("corresponding_author", draft["corresponding_author"]),
        *((f"principal_investigator.{n}", row) for n, row in enumerate(draft["principal_investigator"])),
    ]:
        found += [f"{path}.{name}: to be filled in by the depositor" for name in _PERSON if not person.get(name)]
        if person.get("country") and not re.fullmatch("[A-Z]{2}", person["country"]):
            found.append(f"{path}.country: must be two letters (ISO 3166-1)")
    for name in ("principal_investigator", "imagesets", "citation"):
        if not draft[name]:
            found.append(f"{name}: at least one is needed")
    for n, imageset in enumerate(draft["imagesets"]):
        found += _imageset_problems(imageset, f"imagesets.{n}")
    for n, citation in enumerate(draft["citation"]):
        found += [f"citation.{n}.{name}: to be filled in" for name in _CITATION if citation.get(name) in (None, "", [])]
        found += _author_problems(citation.get("authors", []), f"citation.{n}.authors")
    for n, row in enumerate(draft.get("workflows", [])):
        if not row["url"].startswith("https://") or row["type"] != WORKFLOWHUB:
            found.append(f"workflows.{n}: must be an https address of type {WORKFLOWHUB} (WorkflowHub)")
    return found + [
        f"cross_references.{n}: '{row['name']}' is no EMDB entry"
        for n, row in enumerate(draft.get("cross_references", []))
        if not re.fullmatch(r"EMD-\d{4,}", row["name"])
    ]


def _author_problems(rows: list[dict[str, Any]], path: str) -> list[str]:
    found = [] if rows else [f"{path}: at least one is needed"]
    for n, row in enumerate(rows):
        if not _NAME.fullmatch(row["name"]):
            found.append(f"{path}.{n}.name: must read ('Surname', 'INITIALS')")
        if row["order_id"] != n:
            found.append(f"{path}.{n}.order_id: must count from zero")
    return found


def _imageset_problems(row: dict[str, Any], path: str) -> list[str]:
    found = [f"{path}.{name}: missing" for name in _IMAGESET if row.get(name) in (None, "")]
    for name in ("category", "header_format", "data_format", "voxel_type"):
        if not _CODE.fullmatch(str(row.get(name))):
            found.append(f"{path}.{name}: is no code of EMPIAR")
    if type(row.get("num_images_or_tilt_series")) is not int or row["num_images_or_tilt_series"] < 1:
        found.append(f"{path}.num_images_or_tilt_series: must be a whole number of at least 1")
    return found
