"""``cryorepro compare``: the first stage and iteration at which two runs part, and the ranked differences."""

from __future__ import annotations

import pytest

from tests.compare.artifacts.wrong_store import Answer, WrongStore


@pytest.fixture(scope="module")
def again(store: WrongStore) -> Answer:
    return store.run("--seed", "2")


def test_equal_runs_never_part_and_the_seed_is_the_first_suspect(
    store: WrongStore, sound: Answer, again: Answer
) -> None:
    found = store.call("compare", sound.content["run"], again.content["run"]).content["parting"]
    stages = {stage["stage"]: stage for stage in found["divergence"]["stages"]}
    assert stages["backproject"]["word"] == "identical" and stages["backproject"]["first_difference"] is None
    assert [row["iteration"] for row in stages["backproject"]["iterations"]] == [1, 2, 3]
    # Phases are randomised with the stage's seed: there, and nowhere before, another seed shows.
    assert found["divergence"]["stage"] == "sharpen"
    assert (found["suspects"][0]["rank"], found["suspects"][0]["field"]) == (1, "seed")


@pytest.mark.parametrize("kind, word", [("rounding", "numerical"), ("drift", "different")])
def test_the_iteration_at_which_runs_part(store: WrongStore, sound: Answer, kind: str, word: str) -> None:
    run = store.misbehave(f"{kind}:2")
    found = store.call("compare", sound.content["run"], run.content["run"]).content["parting"]
    divergence = found["divergence"]
    assert (divergence["stage"], divergence["iteration"]) == ("backproject", 2)
    stage = next(row for row in divergence["stages"] if row["stage"] == "backproject")
    assert [row["word"] for row in stage["iterations"]] == ["identical", word, word]
    assert stage["first_beyond_rounding"] == (2 if kind == "drift" else None)
    files = {row["name"]: row["word"] for row in stage["iterations"][1]["files"]}
    assert files == {"class001.mrc": word, "data.star": "identical"}
    assert "identical through iteration 1" in divergence["sentence"]
    assert found["suspects"][0]["field"] == "parameters.backproject.misbehave"
    printed = store.text("compare", sound.content["run"], run.content["run"])
    assert printed.returncode == 0
    assert "the runs part in stage backproject at iteration 2" in printed.stdout


def test_other_data_part_before_the_first_stage(store: WrongStore, sound: Answer) -> None:
    other = store.run("--data-seed", "5", "--set", "data.particles=200")
    parting = store.call("compare", sound.content["run"], other.content["run"]).content["parting"]
    assert parting["divergence"]["stage"] == "data"
    assert "they began with other data" in parting["divergence"]["sentence"]


def test_a_file_changed_after_the_run_is_not_taken_for_the_runs_own(
    store: WrongStore, again: Answer, sound: Answer
) -> None:
    path = store.stage(again, "backproject") / "run.mrc"
    original = path.read_bytes()
    path.write_bytes(original[:-4] + b"\0\0\0\0")
    try:
        parting = store.call("compare", sound.content["run"], again.content["run"]).content["parting"]
    finally:
        path.write_bytes(original)
    stage = next(row for row in parting["divergence"]["stages"] if row["stage"] == "backproject")
    words = {row["name"]: (row["word"], row["reason"]) for row in stage["outputs"]}
    assert words["map"][0] == "unverifiable" and "changed afterwards" in words["map"][1]
    assert words["half1"][0] == "identical"
