"""Every word of the outcome axis and its exit code, at the command line, with a toy whose truth is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cryorepro.workflow.plan import stage_seed
from tests.compare.noisy_store import Answer, Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, toy_site: Path) -> Store:
    return Store(tmp_path_factory.mktemp("words"), toy_site)


@pytest.fixture(scope="module")
def two_runners(store: Store) -> Answer:
    """Three seeds of a sound program and of one that is five counts too high."""
    runners = ["--runner", "toy", "--runner", "toy-biased"]
    return store.run("noisy", *runners, "--seeds", "1,2,3", "--set", "sum.noise=0.3")


@pytest.fixture(scope="module")
def sound(two_runners: Answer) -> list[str]:
    return [row["run"] for row in two_runners.content["members"] if row["runner"] == "toy"]


def test_replicates_run_interleaved_and_each_group_gets_its_word(two_runners: Answer) -> None:
    assert two_runners.code == 3
    members = two_runners.content["members"]
    assert [(row["runner"], row["seed"]) for row in members] == [
        ("toy", 1), ("toy-biased", 1), ("toy-biased", 2), ("toy", 2), ("toy", 3), ("toy-biased", 3),
    ]  # fmt: skip
    verdict = two_runners.content["verdict"]
    assert {label: group["word"] for label, group in verdict["groups"].items()} == {
        "toy": "equivalent", "toy-biased": "diverged",
    }  # fmt: skip
    (pair,) = verdict["between"]
    assert (pair["word"], pair["assurance"], pair["performance"]) == ("diverged", "self-repeat", "not-comparable")
    assert any("another program" in text for text in pair["caveats"])


def test_a_set_named_later_gets_the_verdict_it_had(store: Store, two_runners: Answer, sound: list[str]) -> None:
    name, verdict = two_runners.content["set"], two_runners.content["verdict"]
    again = store.call("verdict", name)
    assert again.code == two_runners.code
    assert (again.content["groups"], again.content["between"]) == (verdict["groups"], verdict["between"])
    mixed = store.call("verdict", sound[0], "--against", name)
    assert (mixed.code, mixed.content["reason"]) == (5, "toy and toy-biased are different programs on one side")


def test_equivalent(store: Store, sound: list[str]) -> None:
    answer = store.call("verdict", *sound, "--require", "equivalent")
    assert (answer.code, answer.content["word"]) == (0, "equivalent")
    (row,) = answer.content["groups"]["toy"]["verdicts"]
    low, high = row["interval"]
    assert -3 < low < row["mean"] - 4950 < high < 3
    assert row["spread"] > 0
    assert store.call("verdict", *sound, "--require", "identical").code == 3


def test_one_run_is_within_band_at_best(store: Store, sound: list[str]) -> None:
    answer = store.call("verdict", sound[0])
    assert (answer.code, answer.content["word"]) == (0, "within-band-n1")
    assert store.call("verdict", sound[0], "--require", "within-band-n1").code == 0
    assert store.call("verdict", sound[0], "--require", "equivalent").code == 4


def test_identical_and_numerical(store: Store, sound: list[str]) -> None:
    again = store.run("noisy", "--set", "sum.noise=0.3").content["run"]
    answer = store.call("verdict", again, "--against", sound[0], "--require", "identical")
    assert (answer.code, answer.content["word"]) == (0, "identical")
    other = store.call("verdict", again, "--against", sound[1])
    assert other.content["word"] == "within-band-n1", "another seed"
    stamped = [store.run("noisy", "--set", "sum.stamp=true").content["run"] for _ in range(2)]
    answer = store.call("verdict", stamped[0], "--against", stamped[1], "--require", "numerical")
    assert (answer.code, answer.content["word"]) == (0, "numerical")
    assert store.call("verdict", stamped[0], "--against", stamped[1], "--require", "identical").code == 3


def test_inconclusive_says_how_many_more(store: Store) -> None:
    answer = store.run("noisy", "--replicates", "2", "--set", "sum.noise=6")
    assert answer.code == 4
    (row,) = answer.content["verdict"]["groups"]["toy"]["verdicts"]
    assert row["axis_outcome"] == "inconclusive"
    assert row["more_runs"] >= 1
    assert f"{row['more_runs']} more would probably decide" in row["reason"]


def test_diverged(store: Store) -> None:
    answer = store.run("noisy", "--set", "sum.bias=7")
    assert (answer.code, answer.content["verdict"]) == (3, "diverged")


def test_not_comparable_names_the_field(store: Store, sound: list[str]) -> None:
    other = store.run("noisy", "--set", "sum.steps=20").content["run"]
    answer = store.call("verdict", other, "--against", sound[0])
    assert (answer.code, answer.content["word"]) == (5, "not-comparable")
    (row,) = answer.content["between"][0]["rows"]
    assert "recipe.sum.parameters" in row["reason"]
    together = store.call("verdict", other, sound[0])
    assert (together.code, together.content["word"]) == (5, "not-comparable"), "no replicates of each other"
    explained = store.call("explain-diff", other, sound[0])
    assert explained.code == 5
    breaking = [row["field"] for row in explained.content["comparability"]["differences"] if row["level"] == "breaks"]
    assert {"science.recipe.sum.parameters.steps", "science.recipe.sum.parameters.noise"} <= set(breaking)
    assert store.call("explain-diff", sound[0], sound[1]).code == 0


def test_unverifiable(store: Store) -> None:
    answer = store.run("exact", "--set", "sum.wrong=true")
    assert (answer.code, answer.content["verdict"]) == (7, "unverifiable")


def test_not_attempted(store: Store) -> None:
    answer = store.run("open")
    assert (answer.code, answer.content["verdict"]) == (0, "not-attempted")
    assert store.call("verdict", answer.content["run"], "--require", "within-band-n1").code == 4


def test_failed(store: Store) -> None:
    answer = store.run("noisy", "--set", "sum.misbehave=exit:1")
    assert (answer.code, answer.content["verdict"]) == (6, "failed")


def test_a_set_with_failed_members_shows_them_and_proves_nothing(store: Store) -> None:
    seeds = [1, 2, 3, 4, 5, 6]
    odd = [seed for seed in seeds if stage_seed(seed, "sum") % 2]
    assert 0 < len(odd) < len(seeds) - 1
    answer = store.run("noisy", "--seeds", ",".join(map(str, seeds)), "--set", "sum.misbehave=odd")
    assert answer.code == 4
    assert [row["seed"] for row in answer.content["members"] if row["status"] == "failed"] == odd
    (row,) = answer.content["verdict"]["groups"]["toy"]["verdicts"]
    assert (row["runs"], row["measured_runs"]) == (len(seeds), len(seeds) - len(odd))
    shown = store.call("show", answer.content["set"]).content
    assert all(row["reason"] for row in shown["members"] if row["status"] == "failed")


def test_a_whole_set_leaves_as_bundles_that_give_the_same_verdict_elsewhere(store: Store, tmp_path: Path) -> None:
    answer = store.run("noisy", "--seeds", "1,2", "--set", "sum.misbehave=odd")
    assert {row["status"] for row in answer.content["members"]} == {"completed", "failed"}
    folder = tmp_path / "set"
    done = store.plain("export", answer.content["set"], "-o", str(folder))
    assert done.returncode == 0, done.stderr
    record = json.loads((folder / "set.json").read_text())
    bundles = [str(folder / row["bundle"]) for row in record["members"]]
    assert [row["status"] for row in record["members"]] == [row["status"] for row in answer.content["members"]]
    assert str(store.root) not in (folder / "set.json").read_text()
    again = store.elsewhere(tmp_path).call("verdict", *bundles)
    assert (again.code, again.content["word"]) == (answer.code, answer.content["verdict"]["word"])
    assert store.plain("export", answer.content["set"], "-o", str(folder)).returncode == 2


def test_margins_may_be_those_of_another_version_of_the_benchmark(store: Store, sound: list[str]) -> None:
    tight = store.root / "tight.yaml"
    tight.write_text(Path(store.spec("noisy")).read_text().replace("margin: 3", "margin: 0.0001"))
    answer = store.call("verdict", *sound, "--spec", str(tight))
    assert answer.code in (3, 4)
    assert store.call("verdict", *sound, "--spec", "empiar-10028").code == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--require", "good"], "the levels are identical, numerical, equivalent, within-band-n1"),
        (["--seeds", "1,1"], "a seed is given twice"),
        (["--seeds", "1,x"], "expected whole numbers"),
        (["--seeds", "0,1"], "a whole number from 1"),
        (["--seeds", "1,2", "--replicates", "3"], "disagree"),
        (["--runner", "toy", "--runner", "toy"], "given twice"),
    ],
    ids=["level", "repeated", "malformed", "zero", "disagree", "runner"],
)
def test_what_cannot_be_used_is_exit_code_2(store: Store, arguments: list[str], sentence: str) -> None:
    before = sorted((store.root / "store" / "runs").glob("*"))
    answer = store.run("noisy", *arguments)
    assert answer.code == 2
    assert sentence in answer.error
    assert sorted((store.root / "store" / "runs").glob("*")) == before


def test_a_run_is_no_replicate_of_itself(store: Store, sound: list[str]) -> None:
    answer = store.call("verdict", sound[0], sound[0])
    assert answer.code == 2
    assert "named twice" in answer.error
