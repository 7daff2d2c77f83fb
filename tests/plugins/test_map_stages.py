"""Stages on half maps through both runners: planned, run as processes, and judged by the same rules."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryorepro_engines.runner import CpuOnlyRunner, RelionLikeRunner
from cryorepro_relion.runner import RelionRunner

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map, write_map
from cryorepro.em.maskcreate import spherical_mask
from cryorepro.model.processing_stages import KNOWN_PARAMETERS
from cryorepro.model.stage import StageFailure, StageRequest, StageResult
from tests.em.halves import BOX, PIXEL, half_maps

RUNNERS: dict[str, type[RelionLikeRunner] | type[RelionRunner]] = {
    "relion-like": RelionLikeRunner,
    "cpu-only": CpuOnlyRunner,
    "relion": RelionRunner,
}
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
LOCRES = {"sampling_angstrom": 24.0, "bfactor_angstrom2": -50.0}


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("maps")
    volumes = dict(zip(("half1", "half2"), half_maps(), strict=True)) | {"mask": spherical_mask(BOX, 14.0, 4.0)}
    for role, volume in volumes.items():
        write_map(home / f"{role}.mrc", volume, PIXEL)
    return {role: home / f"{role}.mrc" for role in volumes}


def asked(kind: str, inputs: dict[str, Path], output: Path, **parameters: Any) -> StageRequest:
    complete = KNOWN_PARAMETERS[kind].model_validate(parameters).model_dump()
    return StageRequest(stage=kind, kind=kind, parameters=complete, inputs=inputs, output_dir=output, seed=5)


def carried_out(runner: str, request: StageRequest) -> StageResult:
    planned = RUNNERS[runner]().plan(request)
    request.output_dir.mkdir(parents=True)
    log = request.output_dir / "log.txt"
    environment = ENVIRONMENT | planned.environment
    with log.open("wb") as stream:
        subprocess.run(planned.argv, cwd=planned.cwd, env=environment, stdout=stream, stderr=stream, check=True)
    return RUNNERS[runner]().collect(request, log)


def test_both_programs_give_the_same_quantiles_of_local_resolution(maps: dict[str, Path], tmp_path: Path) -> None:
    found = {name: carried_out(name, asked("localres", maps, tmp_path / name, **LOCRES)) for name in RUNNERS}
    relion = found["relion"].numbers
    for name in ("relion-like", "cpu-only"):
        numbers = found[name].numbers
        assert numbers["local_resolution_voxels"] == relion["local_resolution_voxels"]
        for level in ("q05", "q25", "q50", "q75", "q95"):
            label = f"local_resolution_{level}_angstrom"
            assert numbers[label] == pytest.approx(relion[label], rel=0.1), label
        assert set(found[name].outputs) == set(found["relion"].outputs) == {"local_resolution", "map"}


def test_a_map_that_holds_no_resolutions_is_not_believed(maps: dict[str, Path], tmp_path: Path) -> None:
    request = asked("localres", maps, tmp_path / "job", **LOCRES)
    carried_out("relion-like", request)
    path = request.output_dir / "relion_locres.mrc"
    values, _ = read_map(path)
    for wrong, words in ((values * 0.01, "Nyquist"), (np.zeros_like(values), "no voxel")):
        write_map(path, wrong, PIXEL)
        with pytest.raises(StageFailure, match=words):
            RelionLikeRunner().collect(request, request.output_dir / "log.txt")
    path.unlink()
    with pytest.raises(StageFailure, match=r"relion_locres\.mrc"):
        RelionLikeRunner().collect(request, request.output_dir / "log.txt")


def test_a_run_that_asks_for_a_gpu_gets_its_small_stages_done_on_the_cpu_and_is_told(
    maps: dict[str, Path], tmp_path: Path
) -> None:
    half = float(read_map(maps["half1"])[0].max()) / 2.0
    request = asked("maskcreate", {"map": maps["half1"]}, tmp_path / "job", threshold=half)
    found = carried_out("relion-like", request.model_copy(update={"device": "cuda"}))
    assert "ran on cpu, not on cuda" in found.notes
    again = request.model_copy(update={"output_dir": tmp_path / "again"})
    assert "ran on cpu, not on cuda" not in carried_out("relion-like", again).notes


@pytest.mark.parametrize("runner", ["relion-like", "relion"])
def test_a_half_map_that_is_missing_is_named(runner: str, maps: dict[str, Path], tmp_path: Path) -> None:
    only = {"half1": maps["half1"]}
    with pytest.raises(InputError, match=r"inputs\.half2"):
        RUNNERS[runner]().plan(asked("localres", only, tmp_path))


def test_every_parameter_of_a_local_resolution_reaches_relions_command(maps: dict[str, Path], tmp_path: Path) -> None:
    plain = RelionRunner().plan(asked("localres", maps, tmp_path)).argv
    other = {
        "sampling_angstrom": 20.0, "mask_radius_angstrom": 9.0, "mask_edge_angstrom": 12.0,
        "randomise_at_angstrom": 30.0, "worst_resolution_angstrom": 40.0, "bfactor_angstrom2": -70.0,
    }  # fmt: skip
    assert set(other) == set(KNOWN_PARAMETERS["localres"].model_fields)
    known = subprocess.run(["relion_postprocess", "--help"], capture_output=True, text=True, check=False).stdout
    for name, value in other.items():
        changed = RelionRunner().plan(asked("localres", maps, tmp_path, **{name: value})).argv
        assert changed != plain, name
        assert all(f" {word} " in known for word in changed if word.startswith("--")), changed
