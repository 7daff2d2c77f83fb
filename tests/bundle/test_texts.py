"""The bundle opened as a person, an archive and a paper would open it."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cryorepro.bundle.empiar import deposition_problems
from cryorepro.bundle.read import read_bundle
from cryorepro.bundle.rederive import rederive_outcomes
from cryorepro.em.fsc import crossing
from tests.bundle.conftest import WORKFLOW
from tests.bundle.forge import Members, members_of


@pytest.fixture(scope="module")
def members(relion_bundle: Path) -> Members:
    return members_of(relion_bundle)


@pytest.fixture(scope="module")
def record(members: Members) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(members["record.json"])
    return content


def test_the_readme_says_what_came_out_and_how_to_check_it(members: Members, record: dict[str, Any]) -> None:
    text = members["README.md"].decode()
    assert text.startswith("# Run of RELION Class3D of EMPIAR-10028 (tier twin)")
    assert "**Verdict: diverged.**" in text
    assert "cryorepro verify paper.zip" in text and "cryorepro reproduce paper.zip" in text
    assert "relion_refine --i <data>/" in text
    for name in record["outcomes"]:
        assert f"| {name} |" in text
    assert f"| Science key (sha256) | {record['keys']['science_sha256']} |" in text
    for verdict in record["verdicts"]:
        assert f"| {verdict['axis_outcome']} |" in text
    for name in re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE):
        for part in name.split(", "):
            assert any(member.startswith(part) for member in members), f"the README names {part}, which is not there"


def test_table_1_has_every_outcome_and_says_what_is_not_known(members: Members, record: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(members["table1.csv"].decode())))
    items = {row["item"]: row["value"] for row in rows}
    assert items["Voltage (kV)"] == "300" and items["Spherical aberration (mm)"] == "2"
    assert items["Microscope"] == "FEI Tecnai Polara" and items["Defocus range (um)"] == "0.8 to 3.8"
    assert items["Movies"] == "not stated" and items["Electron exposure (e-/A2)"] == "20"
    assert items["Number of particles"] == "120" and items["Box (px)"] == "64" and items["Pixel size (A)"] == "7.54"
    assert items["class3d: software"].startswith("RELION 3.1.3")
    shell = record["outcomes"]["resolution"]["value"]["shell"]
    assert items["resolution"] == f"{shell} shells ({64 * 7.54 / shell:.2f} A)"
    assert items["dominant-class"] == "not measured"
    assert items["Verdict"] == "diverged" and items["Assurance"] == "self-repeat, other-system"
    assert items["Science key (sha256)"] == record["keys"]["science_sha256"]
    assert items["Performance key (sha256)"] == record["keys"]["performance_sha256"]
    used = record["stages"]["class3d"]["usage"]["peak_memory_bytes"]
    assert items["class3d: peak memory"] == f"{used / 1e6:,.1f} MB"
    assert all(row["value"] for row in rows)
    for row in rows:
        assert f"| {row['item']} | {row['value']} |" in members["table1.md"].decode()


def test_methods_cite_what_the_list_of_references_has(members: Members) -> None:
    text, bibliography = members["methods.md"].decode(), members["references.bib"].decode()
    cited = {key for group in re.findall(r"\[(@[^\]]+)\]", text) for key in re.findall(r"@([\w-]+)", group)}
    keys = set(re.findall(r"^@\w+\{([\w-]+),$", bibliography, re.MULTILINE))
    assert {"dataset", "dataset-paper", "scheres2012", "zivanov2018", "cryorepro"} <= cited <= keys
    assert bibliography.count("{") == bibliography.count("}")
    assert "Wong, Wilson and Bai, Xiao-chen" in bibliography and "10.6019/EMPIAR-10028" in bibliography
    assert "10.7554/eLife.03080" in bibliography and "RELION 3.1.3" in text and "seed" in text


def test_curves_are_the_ones_behind_the_numbers(members: Members, record: dict[str, Any]) -> None:
    outcome = record["outcomes"]["map-to-truth"]["value"]
    shells = []
    for part in outcome["details"]["curves"]:
        rows = list(csv.DictReader(io.StringIO(members[f"curves/map-to-truth-{part}.csv"].decode())))
        values = np.array([float(row["fsc"]) for row in rows])
        assert len(values) == 33
        shells.append(crossing(values, 0.5).shell)
        root = ElementTree.fromstring(members[f"curves/map-to-truth-{part}.fsc.xml"])
        assert root.tag == "fsc" and "not a half-map FSC" in root.attrib["title"]
        x = [float(str(point.findtext("x"))) for point in root.iter("coordinate")]
        y = [float(str(point.findtext("y"))) for point in root.iter("coordinate")]
        np.testing.assert_allclose(x, np.arange(33) / (64 * 7.54), rtol=1e-5)
        np.testing.assert_allclose(y, values, atol=1e-6)
    assert abs(np.mean(shells) - outcome["value"]) < 1e-3


def test_numbers_are_derived_again_from_curves_and_tables(relion_bundle: Path) -> None:
    derived, taken, problems = rederive_outcomes(read_bundle(relion_bundle).facts)
    assert set(derived) == {"resolution", "class-accuracy", "map-to-truth"}
    assert (taken, problems) == (["pose-error"], [])


def test_the_deposition_for_empiar_lacks_only_what_a_depositor_knows(members: Members) -> None:
    draft = json.loads(members["deposition/empiar.json"])
    assert draft["experiment_type"] == 2, "a twin is simulated, and EMPIAR must be told so"
    assert draft["authors"] == [
        {"name": "('Lovelace', 'A')", "order_id": 0, "author_orcid": "0000-0002-1825-0097"},
    ]
    assert draft["workflows"] == [{"url": WORKFLOW, "type": 1}]
    assert draft["empiar_references"] == [{"name": "EMPIAR-10028"}] and draft["scale"] == "1"
    assert draft["imagesets"][0]["num_images_or_tilt_series"] == 120
    left = deposition_problems(draft)
    assert left == [
        "corresponding_author.email: to be filled in by the depositor",
        "corresponding_author.country: to be filled in by the depositor",
        "principal_investigator.0.email: to be filled in by the depositor",
        "principal_investigator.0.country: to be filled in by the depositor",
        "citation.0.title: to be filled in",
    ]
    person = draft["corresponding_author"] | {"email": "ada@example.org", "country": "GB"}
    draft |= {"corresponding_author": person, "principal_investigator": [person]}
    draft["citation"][0]["title"] = "A paper"
    assert deposition_problems(draft) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"title": "short"}, "title"),
        ({"release_date": "XX"}, "release_date"),
        ({"experiment_type": 14}, "experiment_type"),
        ({"authors": []}, "authors"),
        ({"authors": [{"name": "Lovelace", "order_id": 0}]}, "authors.0.name"),
        ({"imagesets": []}, "imagesets"),
        ({"cross_references": [{"name": "2660"}]}, "cross_references.0"),
        ({"workflows": [{"url": "ftp://x", "type": 1}]}, "workflows.0"),
    ],
)
def test_a_wrong_deposition_is_told(members: Members, change: dict[str, Any], words: str) -> None:
    draft = json.loads(members["deposition/empiar.json"]) | change
    assert any(problem.startswith(words) for problem in deposition_problems(draft))


def test_onedep_reads_back_with_gemmi(members: Members, record: dict[str, Any]) -> None:
    from gemmi import cif

    block = cif.read_string(members["deposition/onedep.cif"].decode()).sole_block()
    reconstruction = block.get_mmcif_category("_em_3d_reconstruction.")
    shell = record["outcomes"]["resolution"]["value"]["shell"]
    assert float(reconstruction["resolution"][0]) == pytest.approx(64 * 7.54 / shell, abs=1e-3)
    assert reconstruction["num_particles"] == ["120"] and reconstruction["actual_pixel_size"] == ["7.54"]
    assert block.get_mmcif_category("_em_single_particle_entity.")["point_symmetry"] == ["C1"]
    assert block.get_mmcif_category("_em_imaging.")["accelerating_voltage"] == ["300"]
    assert block.get_mmcif_category("_em_imaging.")["nominal_defocus_max"] == ["3800"]
    software = block.get_mmcif_category("_em_software.")
    assert ("CLASSIFICATION", "RELION", "3.1.3") in zip(
        software["category"], software["name"], software["version"], strict=True
    )


def test_citation_files_are_what_archives_read(members: Members) -> None:
    citation = yaml.safe_load(members["CITATION.cff"])
    assert citation["cff-version"] == "1.2.0" and citation["authors"][0]["family-names"] == "Lovelace"
    deposit = json.loads(members[".zenodo.json"])
    assert deposit["creators"][0] == {
        "name": "Lovelace, Ada",
        "orcid": "0000-0002-1825-0097",
        "affiliation": "Analytical Society",
    }
    assert deposit["upload_type"] == "dataset" and deposit["license"] == "cc-by-4.0"
    assert json.loads(members["codemeta.json"])["@context"] == "https://w3id.org/codemeta/3.0"
    check = yaml.safe_load(members["codecheck.yml"])
    assert check["version"] == "https://codecheck.org.uk/spec/config/1.0/"
    assert all(entry["file"] in members for entry in check["manifest"])
    appendix = members["ARTIFACT_APPENDIX.md"].decode()
    for part in ("Hardware", "Run-time state", "Expected result and largest allowed variation", "To repeat"):
        assert f"## {part}" in appendix


def test_figures_are_drawn_and_legible(members: Members) -> None:
    import matplotlib.image

    names = {name for name in members if name.startswith("figures/")}
    assert names == {f"figures/{name}.{kind}" for name in ("fsc-map-to-truth", "resources") for kind in ("png", "svg")}
    for name in names:
        if name.endswith(".svg"):
            assert ElementTree.fromstring(members[name]).tag.endswith("svg")
            continue
        pixels = matplotlib.image.imread(io.BytesIO(members[name]), format="png")[..., :3]
        assert pixels.shape[0] >= 700 and pixels.shape[1] >= 1100
        colours = np.unique((pixels * 255).astype(np.uint8).reshape(-1, 3), axis=0)
        assert any((colour == (0, 114, 178)).all() for colour in colours), f"{name}: the first curve is not there"


def test_chosen_outputs_are_the_files_that_the_stage_wrote(members: Members, record: dict[str, Any]) -> None:
    import hashlib

    written = {entry["path"]: entry["sha256"] for entry in record["stages"]["class3d"]["outputs"]}
    artifacts = json.loads(members["bundle.json"])["artifacts"]
    maps = [row for row in artifacts if row["member"].endswith(".mrc")]
    stars = [row for row in artifacts if row["member"].endswith(".star")]
    assert len(maps) == 3 and len(stars) >= 3
    for row in maps:
        assert not row["redacted"]
        assert hashlib.sha256(members[row["member"]]).hexdigest() == written[row["run_path"]]
    optimiser = next(row for row in stars if "optimiser" in row["member"])
    assert optimiser["redacted"] and b"<run>/stages/" in members[optimiser["member"]]
