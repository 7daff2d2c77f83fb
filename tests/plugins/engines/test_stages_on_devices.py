"""CTF estimation and picking as programs, on a device that is not there and on one that only pretends to be."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cryorepro_engines.programs import ctfestimation, picking

from cryorepro.em.ctf_estimation_files import LOCAL_DEFOCUS
from cryorepro.em.formats.maps import write_map
from cryorepro.em.formats.star import make_block, write_star
from cryorepro.model.processing_stages import KNOWN_PARAMETERS
from cryorepro.model.stage import StageRequest
from tests.em.devices.pretend import GPU, pretend_gpu
from tests.em.picking.scenes import places, scene
from tests.em.thon_rings import PIXEL, thon_rings

CTF = {"box_px": 256, "lowest_defocus_angstrom": 9000, "highest_defocus_angstrom": 20000}
DISCS = {"method": "blob", "circular": True, "smallest_diameter_angstrom": 90, "largest_diameter_angstrom": 90}
STAGES: dict[str, tuple[Callable[[StageRequest], None], dict[str, Any]]] = {
    "ctfestimation": (ctfestimation.work, CTF),
    "picking": (picking.work, DISCS),
}


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two micrographs with rings, discs and noise, one of zeros and one that is cut."""
    home = tmp_path_factory.mktemp("sums")
    images = {}
    for seed, name in enumerate(("one", "two")):
        rng = np.random.default_rng(seed)
        discs = scene(rng, places(rng, 12, (512, 512), 70.0, 40.0), (512, 512), noise=0.0)
        images[name] = 20.0 * (discs - discs.mean()) + thon_rings(rng, 14_000.0 + 1000 * seed, 13_500.0, 30.0, size=512)
    images |= {"zeros": np.zeros((512, 512)), "cut": images["one"]}
    for name, image in images.items():
        write_map(home / f"{name}.mrc", image[None].astype(np.float32), PIXEL)
    with (home / "cut.mrc").open("r+b") as stream:
        stream.truncate(5000)
    optics: dict[str, Any] = {"rlnOpticsGroupName": ["a"], "rlnOpticsGroup": [1], "rlnMicrographPixelSize": [PIXEL],
              "rlnVoltage": [300.0], "rlnSphericalAberration": [2.7], "rlnAmplitudeContrast": [0.1]}  # fmt: skip
    rows: dict[str, Any] = {
        "rlnMicrographName": [f"{name}.mrc" for name in images],
        "rlnOpticsGroup": [1] * len(images),
    }
    write_star(home / "all.star", [make_block("optics", optics), make_block("micrographs", rows)])
    return home / "all.star"


def asked(kind: str, listed: Path, output: Path, device: str) -> StageRequest:
    parameters = KNOWN_PARAMETERS[kind].model_validate(STAGES[kind][1]).model_dump()
    output.mkdir(parents=True)
    return StageRequest(
        stage=kind, kind=kind, parameters=parameters, inputs={"micrographs": listed}, output_dir=output, seed=1,
        device=device,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["motioncorrection", *STAGES])
def test_a_gpu_that_is_not_there_is_one_sentence_and_exit_code_2(kind: str, tmp_path: Path) -> None:
    parameters = KNOWN_PARAMETERS[kind]().model_dump()
    request = StageRequest(
        stage=f"my-{kind}", kind=kind, parameters=parameters, inputs={}, output_dir=tmp_path, seed=1, device="cuda"
    )
    command = [sys.executable, "-m", f"cryorepro_engines.programs.{kind}", "--request-json", request.model_dump_json()]
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=hidden)
    assert done.returncode == 2
    assert done.stderr == f"stage my-{kind}: device 'cuda' is not there: torch sees no GPU.\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", STAGES)
def test_a_device_does_the_work_and_leaves_the_files_of_the_cpu(
    kind: str, listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work = STAGES[kind][0]
    work(asked(kind, listed, tmp_path / "cpu", "cpu"))
    said = capsys.readouterr().out
    monkeypatch.setattr("cryorepro.em.devices.choice.chosen_device", lambda *_: GPU)
    monkeypatch.setattr(ctfestimation, "chosen_device", lambda *_: GPU)
    monkeypatch.setattr("cryorepro.em.picking.search.free_bytes", lambda _device: 1 << 30)
    before = torch.get_num_threads()
    with pretend_gpu() as device:
        work(asked(kind, listed, tmp_path / "gpu", "cuda"))
    torch.set_num_threads(before)
    assert device.operations > 150
    assert capsys.readouterr().out == said and "zeros.mrc" in said and "truncated" in said
    files = sorted(path.relative_to(tmp_path / "cpu") for path in (tmp_path / "cpu").rglob("*.star"))
    assert len(files) >= 3
    for file in files:
        ours, theirs = ((tmp_path / where / file).read_text() for where in ("cpu", "gpu"))
        if file.name == LOCAL_DEFOCUS:  # least squares differ in a last bit with the place in memory of their input
            ours, theirs = (re.sub(r"(\.\d{9})\d+", r"\1", text) for text in (ours, theirs))
        assert ours == theirs
