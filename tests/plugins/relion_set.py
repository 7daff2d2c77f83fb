"""A set small enough for the real RELION to refine in seconds, and one finished job of each kind."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from cryorepro_relion.runner import RelionRunner

from cryorepro.em.formats.maps import write_map, write_stack
from cryorepro.model.stage import StageCommand, StageRequest, StageResult
from cryorepro.model.stages import STAGE_PARAMETERS

PARTICLES, BOX, PIXEL_SIZE, SEED = 60, 32, 6.0, 4711
CLASS3D = {
    "number_of_classes": 2, "iterations": 2, "tau2_fudge": 4, "particle_diameter_angstrom": 170,
    "ini_high_angstrom": 40,
    "healpix_order": 1, "offset_range_px": 3, "firstiter_cc": True, "zero_mask": True, "norm": True, "scale":
    True, }  # fmt: skip
REFINE3D = {
    "particle_diameter_angstrom": 170, "ini_high_angstrom": 40, "healpix_order": 0,
    "auto_local_healpix_order": 1,
    "offset_range_px": 3, "firstiter_cc": True,
}  # fmt: skip
_SIGMA_PX = 1.6
_ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def write_set(directory: Path, particles: int = PARTICLES) -> Path:
    """Write ``set of particles/`` (with blanks in its name) below ``directory``: STAR, stack, reference."""
    home = directory / "set of particles"
    home.mkdir(parents=True)
    generator = np.random.default_rng(3)
    centres = generator.normal(0, BOX / 9, (12, 3))
    axis = np.arange(BOX) - BOX // 2
    volume = sum(_blob(axis, centre, 3) for centre in centres)
    write_map(home / "reference.mrc", np.asarray(volume), PIXEL_SIZE)
    images = np.stack([_image(generator, centres, axis) for _ in range(particles)])
    write_stack(home / "images.mrcs", images, PIXEL_SIZE)
    (home / "particles.star").write_text(_star(particles))
    return home


def request(home: Path, output: Path, kind: str = "class3d", **changes: Any) -> StageRequest:
    """A request on the set in ``home``; ``changes`` of the parameters, or of fields of the request itself."""
    own = {name: changes.pop(name) for name in list(changes) if name in StageRequest.model_fields}
    chosen = {"class3d": CLASS3D, "refine3d": REFINE3D}.get(kind, {}) | changes
    inputs = {"particles": home / "particles.star", "reference": home / "reference.mrc"}
    fields: dict[str, Any] = {
        "stage": kind,
        "kind": kind,
        "inputs": inputs,
        "output_dir": output,
        "seed": SEED,
    } | own
    parameters = STAGE_PARAMETERS[kind].model_validate(chosen).model_dump()
    return StageRequest(parameters=parameters, **fields)


def start(command: StageCommand, output: Path) -> subprocess.Popen[bytes]:
    """Start a planned command as the supervisor does: a group of its own, both streams into one log."""
    output.mkdir(parents=True, exist_ok=True)
    with (output / "log.txt").open("wb") as log:
        return subprocess.Popen(
            command.argv,
            cwd=command.cwd,
            env=_ENVIRONMENT | command.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def carry_out(asked: StageRequest, *extra: str) -> int:
    """Plan and run a stage with RELION; ``extra`` arguments are slipped in behind the runner's back."""
    command = RelionRunner().plan(asked)
    command = command.model_copy(update={"argv": [*command.argv, *extra]})
    return start(command, asked.output_dir).wait(timeout=300)


def collect(asked: StageRequest) -> StageResult:
    """What the runner makes of a finished stage."""
    return RelionRunner().collect(asked, asked.output_dir / "log.txt")


@cache
def finished(kind: str) -> StageRequest:
    """The request of a finished job of this kind; run once per process, left untouched by tests."""
    directory = Path(tempfile.mkdtemp(prefix="cryorepro-test-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    asked = request(write_set(directory), directory / "a job" / kind, kind)
    assert carry_out(asked) == 0, (asked.output_dir / "log.txt").read_text()[-2000:]
    return asked


def _blob(axis: np.ndarray, centre: np.ndarray, dimensions: int) -> np.ndarray:
    parts = [np.exp(-((axis - c) ** 2) / (2 * _SIGMA_PX**2)) for c in centre[:dimensions]]
    x, y = parts[0], parts[1]
    plane = y[:, None] * x[None, :]
    return np.asarray(plane if dimensions == 2 else parts[2][:, None, None] * plane[None])


def _image(generator: np.random.Generator, centres: np.ndarray, axis: np.ndarray) -> np.ndarray:
    rotation, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    rotation[:, 0] *= np.linalg.det(rotation)  # of the two hands, the rotation
    image = sum(_blob(axis, rotation @ centre, 2) for centre in centres) + generator.normal(0, 1, (BOX, BOX))
    background = np.hypot(axis[:, None], axis[None, :]) > BOX / 2 - 2
    return np.asarray((image - image[background].mean()) / image[background].std())


def _star(particles: int) -> str:
    optics = {
        "OpticsGroup": 1, "OpticsGroupName": "og1", "Voltage": 300, "SphericalAberration": 2.7,
        "AmplitudeContrast": 0.1,
        "ImagePixelSize": PIXEL_SIZE, "ImageSize": BOX, "ImageDimensionality": 2,
    }  # fmt: skip
    columns = ("ImageName", "OpticsGroup", "MicrographName", "DefocusU", "DefocusV", "DefocusAngle")
    # So small a defocus at so coarse a pixel changes nothing but keeps the CTF in play.
    rows = [f"{i + 1:06d}@images.mrcs 1 m{i // 20}.mrc 15000 15000 0" for i in range(particles)]
    return _table("optics", optics, [" ".join(str(v) for v in optics.values())]) + _table("particles", columns, rows)


def _table(name: str, labels: Any, rows: list[str]) -> str:
    head = "\n".join(f"_rln{label} #{i}" for i, label in enumerate(labels, start=1))
    return f"\n# version 30001\n\ndata_{name}\n\nloop_\n{head}\n" + "\n".join(rows) + "\n\n"
