"""Deliberately wrong runs at the command line: each gets the right word, exit code and reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compare.artifacts.wrong_store import Answer, WrongStore, verdicts


def explanations(store: WrongStore, first: Answer, second: Answer) -> list[str]:
    found: list[str] = store.call("compare", first.content["run"], second.content["run"]).content["parting"][
        "explanations"
    ]
    return found


def test_the_sound_run_passes_and_nothing_is_explained_away(sound: Answer) -> None:
    assert (sound.code, sound.content["verdict"]) == (0, "within-band-n1")
    assert all("wrong" not in reason for _, reason in verdicts(sound).values())


def test_wrong_hand(store: WrongStore, sound: Answer) -> None:
    run = store.misbehave("hand")
    word, reason = verdicts(run)["map-truth"]
    assert (run.code, word) == (3, "diverged") and "wrong hand: the mirror image" in reason
    assert verdicts(run)["half-maps"][0] == "within-band-n1", "half maps cannot tell the hand"
    assert any("backproject.map: wrong hand" in text for text in explanations(store, sound, run))


def test_wrong_symmetry(store: WrongStore, sound: Answer) -> None:
    run = store.run("--set", "backproject.symmetry=C4")
    word, reason = verdicts(run)["map-truth"]
    assert (run.code, word) == (3, "diverged")
    assert "wrong symmetry: the map has the symmetry C4" in reason and "C1 is expected" in reason
    answer = store.call("verdict", run.content["run"], "--against", sound.content["run"])
    assert (answer.code, answer.content["word"]) == (5, "not-comparable")
    assert any("wrong symmetry" in text for text in explanations(store, sound, run))


@pytest.mark.parametrize("factor", [1.08])
def test_wrong_pixel_size(store: WrongStore, sound: Answer, factor: float) -> None:
    run = store.run("--set", f"data.magnification={factor}", "--data-seed", "3")
    word, reason = verdicts(run)["map-truth"]
    assert (run.code, word) == (3, "diverged")
    assert "wrong pixel size: the map fits 0.9" in reason
    implied = float(reason.partition("12 A is declared, ")[2].split()[0])
    assert implied == pytest.approx(12.0 * factor, rel=0.01)
    assert any("backproject.map: wrong pixel size" in text for text in explanations(store, sound, run))


def test_a_pixel_size_that_only_the_header_has_wrong(store: WrongStore) -> None:
    run = store.misbehave("header")
    word, reason = verdicts(run)["map-truth"]
    assert (run.code, word) == (7, "unverifiable")
    assert reason.startswith("wrong pixel size: the map's header states 12.96 A, the truth's 12 A")


def test_swapped_half_sets(store: WrongStore, sound: Answer) -> None:
    run = store.misbehave("swapped")
    assert (run.code, run.content["verdict"]) == (7, "unverifiable")
    word, reason = verdicts(run)["half-sets"]
    assert word == "unverifiable" and reason.startswith("half sets swapped")
    assert any("half sets swapped" in text for text in explanations(store, sound, run))


def test_the_same_half_twice(store: WrongStore) -> None:
    run = store.misbehave("same-half")
    assert (run.code, run.content["verdict"]) == (6, "failed"), (
        "post-processing refuses them before anything is measured"
    )
    assert "half sets not independent: the two half maps are the same map" in run.content["reason"]


def test_a_stale_map_kept_with_its_date_has_no_lineage(store: WrongStore, sound: Answer) -> None:
    run = store.misbehave(f"stale:{store.stage(sound, 'backproject')}")
    assert (run.code, run.content["verdict"]) == (6, "failed")
    assert "no lineage in this run: it is older than the stage" in run.content["reason"]


def test_a_stale_map_under_a_new_date_lacks_the_noise_of_these_particles(store: WrongStore, sound: Answer) -> None:
    run = store.misbehave(f"retouched:{store.stage(sound, 'backproject')}", "--data-seed", "9")
    assert (run.code, run.content["verdict"]) == (7, "unverifiable")
    assert verdicts(run)["half-sets"][1].startswith("stale map: half maps 1 and 2 do not hold the noise")
    assert verdicts(run)["map-truth"][0] == "within-band-n1", "the map itself looks right"


def test_a_changed_mask(store: WrongStore, sound: Answer) -> None:
    run = store.run("--set", "sharpen.misbehave=mask")
    assert (run.code, run.content["verdict"]) == (7, "unverifiable")
    word, reason = verdicts(run)["postprocess-resolution"]
    assert word == "unverifiable" and reason.startswith("changed mask: the mask laid over the half maps has 0.")
    other = store.run("--set", "data.mask_radius_px=9.0")
    answer = store.call("verdict", other.content["run"], "--against", sound.content["run"])
    assert (answer.code, answer.content["word"]) == (5, "not-comparable")


def test_random_poses_of_real_apoferritin_are_named(store: WrongStore, real_data: Path) -> None:
    """The trap of a round particle, from the command to the verdict: half maps alone would be believed."""
    data = str(real_data / "apoferritin_EMPIAR-10146")
    runner = "refine3d=careless,postprocess=relion-like"
    call = ["--tier", "subset", "--data", data, "--runner", runner, "--set", "data.particles=800", "--no-calibration"]
    answer = store.call("reproduce", "empiar-10146", *call)
    run = Answer(answer.code, store.call("show", answer.content["run"]).content, answer.error)
    assert (run.code, run.content["verdict"]) == (3, "diverged")
    word, reason = verdicts(run)["backed-by-signal"]
    assert word == "diverged" and "resolution not backed by signal: the half maps agree to 1" in reason
    assert "at random poses" in reason and "a round particle correlates with itself" in reason
    half_maps = run.content["outcomes"]["half-maps"]["value"]
    assert half_maps["shell"] >= 12, "16 A or better from random poses"
    assert run.content["outcomes"]["backed-by-signal"]["value"]["shell"] == 0
    assert verdicts(run)["map-model"][0] == "diverged"
