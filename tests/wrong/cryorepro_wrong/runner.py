"""The runner: plans the program, and checks what it left as any runner would."""

from __future__ import annotations

import sys
from pathlib import Path

from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.stack_links import find_root, link_stacks
from cryorepro.model.base import Record
from cryorepro.model.stage import Progress, StageCommand, StageFailure, StageRequest, StageResult

ITERATIONS = 3
OUTPUTS = {
    "backproject": {"particles": "run_data.star", "map": "run.mrc", "half1": "half1.mrc", "half2": "half2.mrc"},
    "sharpen": {"star": "postprocess.star", "map": "postprocess.mrc"},
}


class BackprojectParameters(Record):
    """What is reconstructed, and what goes wrong."""

    symmetry: str = "C1"
    misbehave: str = ""


class SharpenParameters(Record):
    """What goes wrong."""

    misbehave: str = ""


class Backprojection:
    def plan(self, request: StageRequest) -> StageCommand:
        program = [sys.executable, "-m", "cryorepro_wrong.program", request.model_dump_json()]
        return StageCommand(argv=program, cwd=request.output_dir, environment={"OMP_NUM_THREADS": "1"})

    def progress(self, request: StageRequest) -> Progress | None:
        return None

    def collect(self, request: StageRequest, log: Path) -> StageResult:
        outputs = {role: Path(name) for role, name in OUTPUTS[request.kind].items()}
        missing = [name for name in outputs.values() if not (request.output_dir / name).exists()]
        if missing:
            raise StageFailure("incomplete-output", f"{missing[0]} was not written")
        if request.kind == "backproject":
            root, _ = find_root(read_particles(request.inputs["particles"]))
            link_stacks(request.output_dir / outputs["particles"], root)
        return StageResult(outputs=outputs, iterations=ITERATIONS if request.kind == "backproject" else None)

    def version(self) -> dict[str, str]:
        return {"name": "wrong", "version": "1"}


def spec() -> Path:
    return Path(__file__).with_name("wrong.yaml")
