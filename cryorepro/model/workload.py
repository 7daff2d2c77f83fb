"""What a workload key stands for, and figures that no source gives."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from cryorepro.model.base import Record
from cryorepro.model.shipped import shipped
from cryorepro.model.strict_yaml import load_named


class Workload(Record):
    """A piece of work that published times are compared by: two claims are about the same work when they name it."""

    key: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    dataset: str
    title: str
    command: str | None = Field(None, description="the options that decide the result; none when not known")
    complete: bool = Field(False, description="the command lists every such option, so another one is another workload")
    defaults: dict[str, str] = Field(default_factory=dict, description="options at the program's default value")
    source: str | None = None
    notes: list[str] = Field(default_factory=list)


class Gap(Record):
    """A published figure that ought to exist and that no copy read contains."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    dataset: str
    source: str
    what: str
    why: str


def load_workloads(directory: Path | None = None) -> dict[str, Workload]:
    """Every workload of the registry by its key.

    Raises:
        InputError: the file is malformed, or a key is used twice.
    """
    return load_named((directory or shipped("registry")) / "workloads.yaml", Workload, lambda record: record.key)


def load_gaps(directory: Path | None = None) -> dict[str, Gap]:
    """Every gap of the registry by its id; errors as :func:`load_workloads`."""
    return load_named((directory or shipped("registry")) / "gaps.yaml", Gap, lambda record: record.id)
