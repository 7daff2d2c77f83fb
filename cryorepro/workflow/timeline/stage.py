"""A stage's timeline, from a cold cache if that was asked for to the summary in the journal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryorepro.em.errors import InputError
from cryorepro.store.errors import StoreError
from cryorepro.workflow.files import read_json
from cryorepro.workflow.redact import Redactor
from cryorepro.workflow.timeline import archive
from cryorepro.workflow.timeline.sampler import FILE
from cryorepro.workflow.timeline.series import read_samples
from cryorepro.workflow.timeline.summary import summarise


def watched_files(data: dict[str, Any], inputs: dict[str, dict[str, Any]], root: Path) -> list[Path]:
    """Files whose place in the page cache matters to a stage: its inputs, and the data these may speak of."""
    paths = [Path(entry["absolute"]) for entry in inputs.values()] + [root / entry["path"] for entry in data["files"]]
    return [path for path in dict.fromkeys(paths) if path.is_file()]


def keep(
    run: Path, attempt_directory: Path, stage: str, attempt: int, wall_seconds: float, cold_asked: bool
) -> dict[str, Any]:
    """Move the attempt's samples into the run's file and sum them up.

    A timeline that cannot be kept costs only itself: the reason is in the summary.
    """
    raw = attempt_directory / FILE
    try:
        timeline = read_samples(raw, stage, attempt)
        summary = summarise(timeline, wall_seconds, cold_asked, _cached(attempt_directory / "cache.json"))
        if timeline is not None:
            archive.add(run / archive.FILE, timeline)
            raw.unlink()
    except (InputError, StoreError, OSError) as error:
        reason = Redactor.of_this_machine({"run": str(run)}).sentence(str(error))
        return {"samples": 0, "perturbed": [], "error": reason}
    return summary


def _cached(path: Path) -> float | None:
    return read_json(path)["inputs_cached"] if path.is_file() else None
