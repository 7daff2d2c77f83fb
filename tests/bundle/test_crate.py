"""The crate before the validators of others, and before ours; no network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cryorepro.bundle.empiar import deposition_problems
from cryorepro.bundle.verify import verify_bundle
from tests.bundle.conftest import command, export, succeed
from tests.bundle.forge import members_of

ROOT = Path(__file__).resolve().parents[2]
PROVENANCE = "provenance-run-crate-0.5"
OWN_PROFILES = ROOT / "cryorepro" / "bundle" / "profile"
OWN = "cryorepro-run-crate"
UNAVOIDABLE = {"process-run-crate-0.5_5.1", "ro-crate-1.1_28.1"}
"""The identifier of a workflow in the crate cannot be absolute; and files of a twin exist nowhere but by their hash
(``ni:``), which the validator says it cannot look up."""


@pytest.fixture(scope="module")
def tools() -> Path:
    """Programs that need other versions than ours; their absence is a failure, not a skip."""
    path = Path(os.environ.get("CRYOREPRO_BUNDLE_TOOLS") or ROOT / ".venv-bundle") / "bin"
    assert (path / "python").exists(), f"the readers of bundles are missing from {path}: run 'make bundle-tools'"
    return path


@pytest.fixture(scope="module")
def crate(relion_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("crate")
    with zipfile.ZipFile(relion_bundle) as archive:
        archive.extractall(path)
    return path


def validate(tools: Path, crate: Path, severity: str, profile: str, *more: str) -> dict[str, Any]:
    command = [
        str(tools / "python"),
        str(Path(__file__).with_name("roc_check.py")),
        str(crate),
        severity,
        profile,
        *more,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"passed"')))
    assert found["asked"] == [], "the validator asked for something on the network"
    return found


def test_rocrate_validator_passes_at_required_and_only_the_unavoidable_is_left_at_recommended(
    tools: Path, crate: Path
) -> None:
    found = validate(tools, crate, "REQUIRED", PROVENANCE)
    assert (found["passed"], found["findings"]) == (True, [])
    assert found["checks"] >= 88, "fewer checks ran than the profile requires"
    recommended = validate(tools, crate, "RECOMMENDED", PROVENANCE)["findings"]
    assert {identifier for _, identifier, _ in recommended} <= UNAVOIDABLE, recommended


def test_our_own_profile_passes_and_finds_what_it_is_for(tools: Path, crate: Path, tmp_path: Path) -> None:
    found = validate(tools, crate, "REQUIRED", OWN, str(OWN_PROFILES))
    assert (found["passed"], found["findings"]) == (True, [])
    damaged = tmp_path / "crate"
    shutil.copytree(crate, damaged)
    content = json.loads((crate / "ro-crate-metadata.json").read_text())
    for change, _ in DAMAGE:
        change({entity["@id"]: entity for entity in content["@graph"]})
    (damaged / "ro-crate-metadata.json").write_text(json.dumps(content))
    findings = validate(tools, damaged, "REQUIRED", OWN, str(OWN_PROFILES))["findings"]
    for _, words in DAMAGE:
        assert any(words in message for _, _, message in findings), (words, findings)


Entities = dict[str, dict[str, Any]]


def without_lineage(entities: Entities) -> None:
    del entities["#outcome-resolution"]["measuredFrom"]


def a_word_of_its_own(entities: Entities) -> None:
    entities["#verdict-1"]["verdictWord"] = "reproduced"


def without_unit(entities: Entities) -> None:
    del entities["#claim-clusterra-2026-resolution"]["unitText"]


DAMAGE: list[tuple[Callable[[Entities], None], str]] = [
    (without_lineage, "measuredFrom exactly one CreateAction"),
    (a_word_of_its_own, "exactly one verdictWord"),
    (without_unit, "exactly one unitText"),
]


def test_runcrate_is_a_second_reader(tools: Path, crate: Path) -> None:
    done = subprocess.run([tools / "runcrate", "report", str(crate)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "action: #run" in done.stdout and "action: #stage-class3d" in done.stdout
    assert "class3d-iterations" in done.stdout


def test_prov_reads_what_was_used_and_generated(tools: Path, crate: Path, relion_bundle: Path) -> None:
    code = (
        "import sys, prov.model as m; d = m.ProvDocument.deserialize(sys.argv[1]);"
        "print(*(len(list(d.get_records(k))) for k in (m.ProvActivity, m.ProvUsage, m.ProvGeneration)))"
    )
    done = subprocess.run(
        [tools / "python", "-c", code, crate / "prov.json"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(members_of(relion_bundle)["record.json"])
    stage, outcomes = record["stages"]["class3d"], record["outcomes"]
    artifacts = sum(len(set(outcome["artifacts"].values())) for outcome in outcomes.values())
    expected = [1 + len(outcomes), len(stage["inputs"]) + artifacts, len(stage["outputs"]) + len(outcomes)]
    assert done.stdout.split() == [str(count) for count in expected]


def test_cffconvert_accepts_the_citation(tools: Path, crate: Path) -> None:
    done = subprocess.run(
        [tools / "cffconvert", "--validate", "-i", str(crate / "CITATION.cff")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "valid according to schema version 1.2.0" in done.stdout


def test_a_person_named_by_nobody_still_makes_a_valid_crate(
    tools: Path, toy_environment: dict[str, str], toy_bundle: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "anonymous.zip"
    succeed(toy_environment, "export", "latest", "-o", str(bundle))
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path / "crate")
    found = validate(tools, tmp_path / "crate", "REQUIRED", PROVENANCE)
    assert (found["passed"], found["findings"]) == (True, [])
    del toy_bundle


def test_a_run_that_reached_no_stage_is_a_workflow_run_crate_only(
    tools: Path, toy_environment: dict[str, str], tmp_path: Path
) -> None:
    environment = {**toy_environment, "CRYOREPRO_HOME": str(tmp_path / "store")}
    assert command(environment, "reproduce", "toy", "--json", "--set", "data.fail=1").returncode == 2
    bundle = export(environment, "latest", tmp_path / "failed.zip")
    assert verify_bundle(bundle).holds
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path / "crate")
    found = validate(tools, tmp_path / "crate", "REQUIRED", "workflow-run-crate-0.5")
    assert (found["passed"], found["findings"]) == (True, [])
    metadata = (tmp_path / "crate" / "ro-crate-metadata.json").read_text()
    assert "wfrun/workflow/0.5" in metadata and "wfrun/provenance/0.5" not in metadata


def test_actions_carry_times_use_and_hashes(relion_bundle: Path) -> None:
    graph = json.loads(members_of(relion_bundle)["ro-crate-metadata.json"])["@graph"]
    entities = {entity["@id"]: entity for entity in graph}
    assert len(entities) == len(graph), "an identifier is given twice"
    action = entities["#stage-class3d"]
    usage = {entities[row["@id"]]["name"]: entities[row["@id"]] for row in action["resourceUsage"]}
    assert {"wall time", "processor time", "peak memory"} <= usage.keys()
    assert all(row["propertyID"] and row["unitCode"].startswith("http://qudt.org/") for row in usage.values())
    environment = {entities[row["@id"]]["name"] for row in action["environment"]}
    assert "OMP_NUM_THREADS" in environment
    inputs = [entities[row["@id"]] for row in action["object"] if row["@id"].startswith("ni:")]
    assert inputs and all(len(row["sha256"]) == 64 and int(row["contentSize"]) > 0 for row in inputs)
    assert all(row["isBasedOn"]["@id"] == "https://www.ebi.ac.uk/empiar/EMPIAR-10028/" for row in inputs)
    for entity in graph:
        for key in ("startTime", "endTime"):
            assert entity.get(key, "+00:00").endswith("+00:00"), entity


def test_the_draft_for_empiar_passes_empiars_own_schema_once_a_depositor_filled_it_in(tools: Path, crate: Path) -> None:
    draft = json.loads((crate / "deposition" / "empiar.json").read_text(encoding="utf-8"))

    def findings(content: dict[str, Any]) -> list[str]:
        command = [str(tools / "python"), str(Path(__file__).with_name("empiar_schema_check.py"))]
        done = subprocess.run(command, input=json.dumps(content), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        problems: list[str] = json.loads(done.stdout)
        return problems

    unfilled = {text.split(":")[0] for text in findings(draft)}
    assert unfilled <= {text.split(":")[0] for text in deposition_problems(draft)}
    person = draft["corresponding_author"] | {"email": "ada@example.org", "country": "GB"}
    draft |= {"corresponding_author": person, "principal_investigator": [person]}
    draft["citation"][0]["title"] = "A paper"
    assert findings(draft) == []
    assert findings(draft | {"experiment_type": 99}) != []
