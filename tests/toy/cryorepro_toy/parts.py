"""The toy's implementations."""

import json
import sys
from pathlib import Path

from pydantic import Field

from cryorepro.em.errors import InputError
from cryorepro.model.base import Record
from cryorepro.model.dataset import DataRequest, PreparedData
from cryorepro.model.outcome import MetricValue
from cryorepro.model.stage import Progress, StageCommand, StageFailure, StageRequest, StageResult
from cryorepro.plugins.interfaces import MetricContext


class SumParameters(Record):
    """How the sum is computed, and how the program misbehaves."""

    steps: int = Field(10, ge=1)
    seconds_per_step: float = Field(0.0, ge=0)
    misbehave: str = ""
    noise: float = Field(0.0, ge=0, description="SD of what the seed adds to the value")
    bias: float = 0.0
    wrong: bool = Field(False, description="the total is off by one")
    stamp: bool = Field(False, description="the time of day is written into the result")


class Numbers:
    def prepare(self, request: DataRequest) -> PreparedData:
        if "fail" in request.parameters:
            raise InputError("numbers.txt: field 'count' is missing")
        path = request.directory / "numbers.txt"
        path.write_text("\n".join(str(number) for number in range(100)))
        (request.truth_directory / "total.txt").write_text("4950")
        return PreparedData(
            files={"numbers": path},
            rows={"numbers": 100},
            box_px=32,
            pixel_size_angstrom=2.0,
            voltage_kv=300,
            origin="counted",
            has_truth=True,
        )

    def truth(self, request: DataRequest) -> dict[str, Path]:
        return {"total": request.truth_directory / "total.txt"}


class Summation:
    def plan(self, request: StageRequest) -> StageCommand:
        program = [sys.executable, "-m", "cryorepro_toy.program", request.model_dump_json()]
        return StageCommand(argv=program, cwd=request.output_dir)

    def progress(self, request: StageRequest) -> Progress | None:
        state = request.output_dir / "state.json"
        if not state.exists():
            return None
        return Progress(iteration=json.loads(state.read_text())["step"], of=request.parameters["steps"])

    def collect(self, request: StageRequest, log: Path) -> StageResult:
        result = request.output_dir / "result.json"
        if not result.exists():
            raise StageFailure("incomplete-output", "result.json was not written")
        content = json.loads(result.read_text())
        return StageResult(
            outputs={"result": Path("result.json")},
            iterations=content["steps"],
            rows={"numbers": 100},
            seed=content["seed"],
        )

    def version(self) -> dict[str, str]:
        return {"name": "toy", "version": "1"}


class BiasedSummation(Summation):
    """Another program for the same stage, which is five too high."""

    def plan(self, request: StageRequest) -> StageCommand:
        biased = {**request.parameters, "bias": request.parameters["bias"] + 5.0}
        return super().plan(request.model_copy(update={"parameters": biased}))

    def version(self) -> dict[str, str]:
        return {"name": "toy-biased", "version": "1"}


class Total:
    def measure(self, context: MetricContext) -> MetricValue:
        content = json.loads(context.artifacts["result"].read_text())
        if content["total"] != int(context.truth["total"].read_text()):
            raise InputError("result.json: field 'total' is not the true sum")
        return MetricValue(value=content["total"], unit="counts")


class Value:
    def measure(self, context: MetricContext) -> MetricValue:
        content = json.loads(context.artifacts["result"].read_text())
        return MetricValue(value=content["value"], unit="counts")


def spec() -> Path:
    return Path(__file__).with_name("toy.yaml")
