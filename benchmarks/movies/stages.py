"""Single stages of a twin, run as the runners run them, with what each cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryorepro_engines.runner import RelionLikeRunner
from cryorepro_relion.runner import RelionRunner

from benchmarks.engine.metered import run_metered
from cryorepro.model.dataset import PreparedData
from cryorepro.model.processing_stages import KNOWN_PARAMETERS
from cryorepro.model.stage import StageRequest, StageResult
from cryorepro.plugins.interfaces import MetricContext

RUNNERS: dict[str, RelionLikeRunner | RelionRunner] = {"ours": RelionLikeRunner(), "RELION": RelionRunner()}


class Stages:
    """Runs stages of one twin and remembers what they cost."""

    def __init__(self, data: PreparedData, truth: Mapping[str, Path], home: Path) -> None:
        self.data, self.truth, self.home = data, truth, home

    def run(
        self, program: str, kind: str, name: str, inputs: dict[str, Path], **given: Any
    ) -> tuple[Path, StageResult, float]:
        """One stage as a process: its folder, what it left, and its CPU-seconds."""
        output = self.home / name
        output.mkdir(parents=True)
        parameters = KNOWN_PARAMETERS[kind].model_validate(given).model_dump()
        request = StageRequest(stage=name, kind=kind, parameters=parameters, inputs=inputs, output_dir=output, seed=1)
        command = RUNNERS[program].plan(request)
        spent = run_metered(command.argv, command.cwd, {}, command.environment, output / "log.txt")
        return output, RUNNERS[program].collect(request, output / "log.txt"), spent.cpu_seconds

    def context(self, folder: Path, result: StageResult) -> MetricContext:
        """What a metric is given of a stage."""
        artifacts = {role: folder / path for role, path in result.outputs.items()}
        return MetricContext(artifacts, self.data, self.truth, {}, result.numbers)
