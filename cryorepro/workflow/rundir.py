"""The files of one run, all below its own directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryorepro.workflow.plan import PlannedStage


@dataclass(frozen=True)
class RunDirectory:
    """Names of the things a run keeps."""

    root: Path

    @property
    def uid(self) -> str:
        """The run's identifier."""
        return self.root.name

    @property
    def spec(self) -> Path:
        """The benchmark as it was when the run began."""
        return self.root / "spec.yaml"

    @property
    def options(self) -> Path:
        """What the person chose."""
        return self.root / "options.json"

    @property
    def heartbeat(self) -> Path:
        """Rewritten every second while the run lives: how much of an attempt survives a kill."""
        return self.root / "heartbeat.json"

    @property
    def private_readings(self) -> Path:
        """Raw readings behind the fingerprint. They can name people, hosts and paths: never exported."""
        return self.root / "private" / "raw-fingerprint.json"

    @property
    def outcomes(self) -> Path:
        """Curves and pictures made while measuring."""
        return self.root / "outcomes"

    def stage(self, stage: PlannedStage) -> Path:
        """Where a stage writes, and nothing else does."""
        return self.root / "stages" / stage.folder

    def lock(self, name: str) -> Path:
        """Held by whatever works on the stage ``name``."""
        return self.root / "attempts" / f"{name}.lock"

    def attempt(self, name: str, number: int) -> Path:
        """Command, log, usage and exit of one attempt, apart from the stage's own files."""
        return self.root / "attempts" / f"{name}-{number}"
