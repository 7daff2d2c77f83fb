"""A runner: plans a command, and afterwards believes nothing but the files."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map
from cryorepro.model.stage import Progress, StageCommand, StageFailure, StageRequest, StageResult
from cryorepro.model.stages import MaskCreateParameters

MASK = Path("mask.mrc")


class ThresholdRunner:
    """Carries out ``maskcreate`` with the program of this package."""

    def plan(self, request: StageRequest) -> StageCommand:
        """The exact command. What this runner cannot do is refused here, never ignored."""
        parameters = MaskCreateParameters.model_validate(request.parameters)
        for name in ("extend_px", "soft_edge_px", "lowpass_angstrom"):
            if getattr(parameters, name):
                raise InputError(f"stage {request.stage}: example-threshold cannot do {name}; set it to 0 or leave it")
        if "map" not in request.inputs:
            raise InputError(f"stage {request.stage}: input 'map' is missing")
        output = request.output_dir / MASK
        argv = [sys.executable, "-P", "-m", "cryorepro_example.program"]
        argv += [str(request.inputs["map"]), str(output), str(parameters.threshold)]
        return StageCommand(argv=argv, cwd=request.output_dir)

    def progress(self, request: StageRequest) -> Progress | None:
        """A stage of a moment has no progress to tell."""
        return None

    def collect(self, request: StageRequest, log: Path) -> StageResult:
        """Read the whole mask back: an exit code of 0 does not say that it is there, whole and of the right box."""
        try:
            mask, _ = read_map(request.output_dir / MASK)
            given, _ = read_map(request.inputs["map"])
        except InputError as error:
            raise StageFailure("incomplete-output", str(error)) from error
        if mask.shape != given.shape or not np.isin(mask, (0, 1)).all():
            raise StageFailure("incomplete-output", f"{MASK} is not a mask of the box of its map")
        return StageResult(outputs={"mask": MASK}, numbers={"fraction": float(mask.mean())})

    def version(self) -> Mapping[str, str]:
        """As the program itself would report it."""
        return {"name": "cryorepro-example", "version": version("cryorepro-example")}
