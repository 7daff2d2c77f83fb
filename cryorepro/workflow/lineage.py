"""Whether a file was written by this run's stage, or merely lies where it was expected.

An output counts when it is a plain file inside the stage's own directory (which was empty when the stage first
started), has no second name elsewhere, and was modified after that start. A program that exits 0 and leaves an
earlier run's file in place, links to it, or copies it with its date, is found out here; one that ignored its
seed is found out by the seed read back.
"""

from __future__ import annotations

from pathlib import Path

from cryorepro.model.stage import StageFailure, StageResult

CLOCK_SLACK_SECONDS = 0.1
"""File times come from the kernel's coarse clock, which lags the precise one by up to a tick."""


def check_outputs(directory: Path, result: StageResult, started_at: float, seed: int) -> dict[str, Path]:
    """Absolute paths of the outputs by role.

    Raises:
        StageFailure: an output has no lineage in this run; the sentence says why.
    """
    root = directory.resolve()
    checked: dict[str, Path] = {}
    for role, relative in result.outputs.items():
        path = directory / relative
        if path.is_symlink() or not path.resolve().is_relative_to(root):
            raise _stale(role, relative, "it is a link or lies outside the stage's directory")
        if not path.is_file():
            raise StageFailure("incomplete-output", f"output '{role}' ({relative}) was not written")
        status = path.stat()
        if status.st_nlink > 1:
            raise _stale(role, relative, "the same file has another name elsewhere")
        if status.st_mtime < started_at - CLOCK_SLACK_SECONDS:
            raise _stale(role, relative, "it is older than the stage that should have written it")
        checked[role] = path
    if result.seed is not None and result.seed != seed:
        raise StageFailure(
            "incomplete-output",
            f"the seed read back is {result.seed} where {seed} was asked for: these are another run's files",
        )
    return checked


def _stale(role: str, relative: Path, why: str) -> StageFailure:
    return StageFailure("incomplete-output", f"output '{role}' ({relative}) has no lineage in this run: {why}")
