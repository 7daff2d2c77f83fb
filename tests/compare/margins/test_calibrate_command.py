"""``cryorepro calibrate`` as a person runs it: an ensemble, margins, the patch, and the edited benchmark at work."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.compare.noisy_store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, toy_site: Path) -> Store:
    return Store(tmp_path_factory.mktemp("calibrate"), toy_site)


def test_an_ensemble_gives_a_margin_that_later_runs_are_held_to(store: Store) -> None:
    spec = Path(store.spec("noisy"))
    before = spec.read_text()
    ensemble = ["--seeds", "1,2,3,4,5,6", "--threads", "1", "--set", "sum.noise=0.5"]
    measured = store.call("calibrate", str(spec), *ensemble)
    assert measured.code == 0, measured.error
    assert spec.read_text() == before, "without --write nothing is edited"
    (proposal,) = measured.content["proposals"]
    assert (measured.content["runs"], proposal["parts"]["conditions"], proposal["held_out"]) == (6, 1, 2)
    found = store.call("runs", "--sets")
    again = store.call("calibrate", str(spec), "--runs", found.content[0]["set_uid"], "--write")
    assert again.content["proposals"] == measured.content["proposals"]
    (tolerance,) = [row["expect"]["twin"]["tolerance"] for row in yaml.safe_load(spec.read_text())["outcomes"]]
    assert (tolerance["margin"], tolerance["reason"]) == (proposal["margin"], proposal["reason"])
    assert store.run("noisy", "--seed", "9", "--set", "sum.noise=0.5").content["verdict"] == "within-band-n1"
    assert store.run("noisy", "--set", "sum.bias=20").code == 3


def test_runs_of_other_experiments_are_refused(store: Store) -> None:
    runs = [store.run("open", "--set", f"sum.steps={steps}").content["run"] for steps in (10, 20)]
    mixed = store.call("calibrate", store.spec("open"), "--runs", ",".join(runs))
    assert mixed.code == 2
    assert "no ensemble of one experiment: recipe.sum.parameters.steps" in mixed.error
    strange = store.call("calibrate", "empiar-10028", "--runs", runs[0])
    assert "of benchmark 'noisy', not 'empiar-10028'" in strange.error
