"""A bundle kept, shown, and repeated somewhere else from the zip alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cryorepro.bundle.against import hold_against
from cryorepro.bundle.read import read_bundle
from tests.bundle.conftest import command, succeed
from tests.bundle.forge import Members, forged


@pytest.fixture
def elsewhere(tmp_path: Path, toy_environment: dict[str, str]) -> dict[str, str]:
    """Another person's empty store, with the toy plugin."""
    return {**toy_environment, "CRYOREPRO_HOME": str(tmp_path / "other-store"), "USER": "trillian"}


def test_a_bundle_copied_elsewhere_is_verified_and_reproduced_from_the_zip_alone(
    toy_bundle: Path, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    copy = shutil.copy(toy_bundle, tmp_path / "paper.zip")
    assert "the bundle holds" in succeed(elsewhere, "verify", copy)
    text = succeed(elsewhere, "reproduce", copy, "--require", "identical")
    assert "AGAINST THE AUTHORS' RUN" in text
    assert "identical" in text
    runs = json.loads(succeed(elsewhere, "runs", "--json"))
    assert [run["benchmark"] for run in runs] == ["toy"]


def test_the_rerun_is_the_authors_experiment(toy_bundle: Path, elsewhere: dict[str, str]) -> None:
    for option in (["--tier", "full"], ["--set", "sum.steps=3"], ["--data-seed", "4"], ["--dry-run"]):
        done = command(elsewhere, "reproduce", str(toy_bundle), *option)
        assert done.returncode == 2
        assert f"{option[0]}: a bundle says itself what was run" in done.stderr


def test_rerun_twin_compares(toy_bundle: Path, elsewhere: dict[str, str]) -> None:
    last = json.loads(succeed(elsewhere, "verify", str(toy_bundle), "--rerun-twin", "--json").splitlines()[-1])
    assert last["holds"] and last["rerun"] == "identical"
    assert {finding["kind"] for finding in last["findings"]} == {"holds", "note"}


def test_a_plugin_named_in_a_bundle_is_neither_installed_nor_imported(
    toy_bundle: Path, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    """Without the plugin the bundle still verifies; running it says what is missing."""
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "cryorepro_toy.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\n")
    environment = {**elsewhere, "PYTHONPATH": str(trap)}
    succeed(environment, "verify", str(toy_bundle))
    done = command(environment, "reproduce", str(toy_bundle))
    assert done.returncode == 2
    assert "runner 'toy' is not installed here, and a bundle never installs or imports anything" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "imported").exists()


def test_a_bundle_that_does_not_hold_is_not_run_or_kept(
    toy_bundle: Path, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    def change(members: Members) -> None:
        members["table1.md"] += b"\n"

    lie = forged(toy_bundle, tmp_path / "lie.zip", change)
    for name, words in (("reproduce", "not run, because"), ("import", "not imported, because")):
        done = command(elsewhere, name, str(lie))
        assert done.returncode == 2 and words in done.stderr
    assert not list((tmp_path / "other-store").glob("runs/*"))
    assert command(elsewhere, "verify", str(lie)).returncode == 1
    assert command(elsewhere, "verify", str(tmp_path / "missing.zip")).returncode == 2


def test_an_imported_run_is_kept_apart_from_ones_own(
    toy_bundle: Path, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    run = succeed(elsewhere, "import", str(toy_bundle)).partition(":")[0]
    assert run.startswith("imported/")
    assert json.loads(succeed(elsewhere, "runs", "--json")) == []
    record = json.loads(succeed(elsewhere, "show", run, "--json"))
    assert record["origin"]["origin"] == "bundle"
    assert record["origin"]["authors"][0]["name"] == "Ada Lovelace"
    assert record["integrity"]["intact"] and record["verdict"] == "within-band-n1"
    again = command(elsewhere, "import", str(toy_bundle))
    assert again.returncode == 2 and "was imported already" in again.stderr
    succeed(elsewhere, "reproduce", str(toy_bundle))
    comparison = succeed(elsewhere, "compare", "latest", run)
    assert "total" in comparison
    assert "no run is called" in command(elsewhere, "show", run.removeprefix("imported/")).stderr


def test_an_output_that_would_lie_outside_the_run_is_refused(
    relion_bundle: Path, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    def change(members: Members) -> None:
        content = json.loads(members["bundle.json"])
        content["artifacts"][0]["run_path"] = "../../escaped.mrc"
        members["bundle.json"] = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"

    lie = forged(relion_bundle, tmp_path / "lie.zip", change)
    done = command(elsewhere, "import", str(lie))
    assert done.returncode == 2
    assert "the journal knows no such output" in done.stderr
    assert not list(tmp_path.rglob("escaped.mrc"))


def test_outputs_of_an_imported_run_lie_where_the_run_had_them(
    relion_bundle: Path, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    run = succeed(elsewhere, "import", str(relion_bundle)).partition(":")[0]
    directory = tmp_path / "other-store" / run
    record = json.loads(succeed(elsewhere, "show", run, "--json"))
    maps = [entry for entry in record["stages"]["class3d"]["outputs"] if entry["path"].endswith(".mrc")]
    assert len(maps) == 3
    assert all((directory / entry["path"]).stat().st_size == entry["size_bytes"] for entry in maps)


def test_two_runs_are_only_compared_when_they_are_one_experiment(toy_bundle: Path) -> None:
    facts = read_bundle(toy_bundle).facts
    same = hold_against(facts.benchmark, facts.record, facts.record)
    assert [row.word for row in same.rows] == ["identical"]
    assert (same.performance, same.assurance, same.signed) == ("inconclusive", "self-repeat", False)
    other = json.loads(json.dumps(facts.record))
    other["settings"]["data_seed"] = 99
    assert hold_against(facts.benchmark, facts.record, other).rows[0].word == "not-comparable"
    further = json.loads(json.dumps(facts.record))
    further["outcomes"]["total"]["value"]["value"] += 1000
    assert hold_against(facts.benchmark, facts.record, further).rows[0].word == "diverged"
    stopped = json.loads(json.dumps(facts.record))
    stopped["outcomes"] = {}
    assert hold_against(facts.benchmark, facts.record, stopped).rows[0].word == "failed"


def test_a_bundle_takes_part_in_verdicts_as_another_teams_run(
    toy_bundle: Path, elsewhere: dict[str, str], toy_environment: dict[str, str]
) -> None:
    for seed in ("1", "2"):
        succeed(elsewhere, "reproduce", "toy", "--seed", seed)
    runs = [row["run_uid"] for row in json.loads(succeed(elsewhere, "runs", "--json"))]
    answer = json.loads(succeed(elsewhere, "verdict", *runs, "--against", str(toy_bundle), "--json"))
    (pair,) = answer["between"]
    assert (answer["word"], pair["assurance"], pair["signed"]) == ("within-band-n1", "other-team", False)
    explained = json.loads(succeed(elsewhere, "explain-diff", runs[0], str(toy_bundle), "--json"))
    assert explained["science_sha256"][0] == explained["science_sha256"][1]
    own = read_bundle(toy_bundle).facts.run
    at_home = json.loads(succeed(toy_environment, "verdict", own, "--against", str(toy_bundle), "--json"))
    assert (at_home["word"], at_home["between"][0]["assurance"]) == ("identical", "self-repeat"), "its own store"
