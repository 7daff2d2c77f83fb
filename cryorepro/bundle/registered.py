"""What the plugins installed here say about a run's dataset."""

from __future__ import annotations

from pathlib import Path

from cryorepro.model.benchmark import Benchmark
from cryorepro.model.dataset import DatasetInfo
from cryorepro.model.strict_yaml import load_record
from cryorepro.plugins.loader import load_catalogue
from cryorepro.plugins.types import Dataset
from cryorepro.workflow.rundir import RunDirectory


def dataset_of(run: Path) -> DatasetInfo | None:
    """The declared dataset of the run in ``run``; None when its plugin is no longer installed.

    Raises:
        InputError: the run's copy of its benchmark is missing or malformed.
    """
    name = load_record(RunDirectory(run).spec, Benchmark).dataset
    found = [entry.descriptor.info for entry in load_catalogue().all(Dataset) if entry.name == name]
    return found[0] if found else None
