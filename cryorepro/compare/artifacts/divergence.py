"""The first stage, and in it the first iteration, at which two runs part."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryorepro.compare.artifacts.files import FilePair, Word, compare_files, same_bytes, worst
from cryorepro.compare.artifacts.locate import Artifact, StageFiles, stage_files
from cryorepro.model.base import Record
from cryorepro.workflow.files import sha256_of

_MOST_SHOWN = 3


class IterationPair(Record):
    """One iteration of a stage in both runs."""

    iteration: int
    word: Word
    files: tuple[FilePair, ...] = ()


class StagePair(Record):
    """One stage of both runs: the word of its outputs, where its iterations part, and the files behind it."""

    stage: str
    word: Word
    first_difference: int | None = None
    first_beyond_rounding: int | None = None
    iterations: tuple[IterationPair, ...] = ()
    outputs: tuple[FilePair, ...] = ()
    note: str | None = None


class Divergence(Record):
    """Where two runs part; ``stage`` is None when they never do, ``data`` when they began with other data."""

    stage: str | None
    iteration: int | None
    word: Word
    sentence: str
    stages: tuple[StagePair, ...]


def find_divergence(
    first: Path, first_record: Mapping[str, Any], second: Path, second_record: Mapping[str, Any]
) -> Divergence:
    """Compare all files of two runs, data first, then stage by stage.

    Args:
        first: directory of a run.
        first_record: its record (``workflow.record.run_record``).
        second: directory of the other.
        second_record: its record.
    """
    left = {stage.stage: stage for stage in stage_files(first, first_record)}
    right = {stage.stage: stage for stage in stage_files(second, second_record)}
    symmetry = _symmetry(first_record)
    stages = [_data(first_record, second_record)]
    for name in dict.fromkeys([*left, *right]):
        stages.append(_stage(name, left.get(name), right.get(name), symmetry.get(name, "C1")))
    parted = next((stage for stage in stages if stage.word != "identical" or stage.first_difference is not None), None)
    if parted is None:
        sentence = "the runs never part: every artifact of every stage is identical"
        return Divergence(stage=None, iteration=None, word="identical", sentence=sentence, stages=tuple(stages))
    return Divergence(
        stage=parted.stage,
        iteration=parted.first_difference,
        word=parted.word,
        sentence=_sentence(parted, stages),
        stages=tuple(stages),
    )


def _symmetry(record: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for name, parameters in record["settings"].get("parameters", {}).items():
        if isinstance(parameters, Mapping) and isinstance(parameters.get("symmetry"), str):
            found[name] = parameters["symmetry"]
    return found


def _data(first: Mapping[str, Any], second: Mapping[str, Any]) -> StagePair:
    """The prepared data of both, by the digests the runs recorded."""
    left, right = (
        {entry["role"]: entry["sha256"] for entry in (record["data"] or {"files": []})["files"]}
        for record in (first, second)
    )
    files = []
    for role in dict.fromkeys([*left, *right]):
        word: Word = "missing" if role not in left or role not in right else "different"
        if left.get(role) == right.get(role):
            word = "identical"
        reason = {"identical": "the same bytes", "different": "other bytes"}.get(word, "only one run has it")
        files.append(FilePair(name=role, word=word, reason=reason))
    return StagePair(stage="data", word=worst([pair.word for pair in files]), outputs=tuple(files))


def _stage(name: str, left: StageFiles | None, right: StageFiles | None, symmetry: str) -> StagePair:
    if left is None or right is None:
        return StagePair(stage=name, word="missing", note="only one run has this stage")
    if left.status != right.status:
        return StagePair(
            stage=name, word="missing", note=f"it ended {left.status} in one run, {right.status} in the other"
        )
    roles = dict.fromkeys([*left.outputs, *right.outputs])
    outputs = [_pair(role, left.outputs.get(role), right.outputs.get(role), symmetry) for role in roles]
    iterations = _iterations(left, right, symmetry)
    parted = [pair for pair in iterations if pair.word != "identical"]
    beyond = [pair for pair in parted if pair.word != "numerical"]
    return StagePair(
        stage=name,
        word=worst([pair.word for pair in outputs]) if outputs else worst([pair.word for pair in iterations]),
        first_difference=parted[0].iteration if parted else None,
        first_beyond_rounding=beyond[0].iteration if beyond else None,
        iterations=tuple(iterations),
        outputs=tuple(outputs),
    )


def _pair(name: str, left: Artifact | None, right: Artifact | None, symmetry: str) -> FilePair:
    if left is None or right is None:
        return FilePair(name=name, word="missing", reason="only one run has it")
    for artifact in (left, right):
        if artifact.sha256 is not None and sha256_of(artifact.path) != artifact.sha256:
            reason = f"{artifact.path.name} is no longer the file the run recorded: it was changed afterwards"
            return FilePair(name=name, word="unverifiable", reason=reason)
    return compare_files(name, left.path, right.path, symmetry)


def _iterations(left: StageFiles, right: StageFiles, symmetry: str) -> list[IterationPair]:
    """Every iteration; numbers are looked at until the runs have parted, later only bytes."""
    pairs: list[IterationPair] = []
    parted = 0
    for number in sorted(left.iterations.keys() | right.iterations.keys()):
        one, other = left.iterations.get(number), right.iterations.get(number)
        if one is None or other is None:
            pairs.append(IterationPair(iteration=number, word="missing"))
            continue
        names = sorted(one.keys() | other.keys())
        if parted >= _MOST_SHOWN:
            same = one.keys() == other.keys() and all(same_bytes(one[k].path, other[k].path) for k in names)
            pairs.append(IterationPair(iteration=number, word="identical" if same else "different"))
            continue
        files = [_pair(name, one.get(name), other.get(name), symmetry) for name in names]
        pairs.append(IterationPair(iteration=number, word=worst([f.word for f in files]), files=tuple(files)))
        parted += pairs[-1].word not in ("identical", "numerical")
    return pairs


def _sentence(parted: StagePair, stages: list[StagePair]) -> str:
    if parted.stage == "data":
        roles = ", ".join(pair.name for pair in parted.outputs if pair.word != "identical")
        return f"the runs part before the first stage: they began with other data ({roles})"
    where = f"the runs part in stage {parted.stage}"
    if parted.note:
        return f"{where}: {parted.note}"
    if parted.first_difference is None:
        pair = next(pair for pair in parted.outputs if pair.word == parted.word)
        return f"{where}: {pair.name} is {parted.word} ({pair.reason})"
    at = f"{where} at iteration {parted.first_difference}"
    before = [pair.iteration for pair in parted.iterations if pair.iteration < parted.first_difference]
    after = f", identical through iteration {before[-1]}" if before else ""
    step = next(pair for pair in parted.iterations if pair.iteration == parted.first_difference)
    files = [pair for pair in step.files if pair.word == step.word]
    why = f" ({files[0].name}: {files[0].reason})" if files else ""
    beyond = parted.first_beyond_rounding
    if step.word == "numerical" and beyond is not None:
        return f"{at} by rounding{why}{after}; beyond rounding from iteration {beyond}"
    return f"{at}: {step.word}{why}{after}"
