"""The benchmarks of devices run here at tiny sizes, and say so where there is nothing to measure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.engine import canonical_10028, deterministic_cost
from benchmarks.engine.class3d_jobs import Job
from benchmarks.engine.generated import generate
from benchmarks.movies import motion_rate
from cryorepro.em.ctf import ctf_values
from cryorepro.em.devices.choice import CPU
from cryorepro.em.fourier import half_plane, image_coefficients
from cryorepro.em.imageset import TensorSource
from cryorepro.em.projection import Projector


def test_the_canonical_job_runs_at_a_tiny_scale_and_reports_everything(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    arguments = ["--device", "cpu", "--scale", "tiny", "--iterations", "2", "--record", str(path)]
    canonical_10028.main(arguments)
    record = json.loads(path.read_text())
    assert record["status"] == "measured" and len(record["iterations"]) == 2
    assert {"coarse pass", "fine pass", "the rest"} <= set(record["iterations"][0]["parts"])
    total = sum(sum(one["parts"].values()) for one in record["iterations"])
    assert total == pytest.approx(record["seconds"], abs=0.1)
    assert record["agreement"]["class"] > 0.9 and record["peak_bytes"] > 0


def test_without_a_gpu_it_reads_not_attempted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    canonical_10028.main(["--record", str(tmp_path / "record.jsonl")])
    record = json.loads((tmp_path / "record.jsonl").read_text())
    assert record["status"] == "not-attempted" and "torch sees no GPU" in record["reason"]
    assert record["job"]["particles"] == 105_247 and "iterations" not in record
    assert capsys.readouterr().out.startswith("not-attempted")


def test_movies_per_minute_are_measured_at_a_tiny_size_and_not_without_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    size = ["--side", "320x192", "--frames", "4", "--movies", "3", "--threads", "1", "--data", str(tmp_path / "data")]
    motion_rate.main(size)
    *_, row = capsys.readouterr().out.splitlines()
    device, threads, sides, rate, megapixels, peak = (word.strip() for word in row.strip("|").split("|"))
    assert (device, threads, sides, peak) == ("CPU", "1", "320 x 192 x 4", "")
    assert float(rate) > 1.0
    assert float(megapixels) == pytest.approx(float(rate) / 60.0 * 320 * 192 * 4 / 1e6, abs=1.0)
    with pytest.raises(SystemExit):
        motion_rate.main([*size, "--movies", "1"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    motion_rate.main(["--device", "cuda"])
    assert "not-attempted: motion_rate: device 'cuda' is not there" in capsys.readouterr().out


@pytest.mark.parametrize("half", [False, True])
def test_generated_particles_are_projections_of_the_reference(half: bool) -> None:
    made = generate(24, 48, 8.0, 50.0, 3, CPU, half)
    source = made.images.source
    assert isinstance(source, TensorSource) and source.images.dtype == (torch.float16 if half else torch.float32)
    own = (made.conformer == 0).nonzero()[:, 0]
    plane = half_plane(48, 12)
    slices = Projector(made.reference, 12).slices(made.rotations[own], plane)
    images = image_coefficients(made.images.read(own), plane)
    ctf = ctf_values(made.images.ctf.select(own), plane.kx, plane.ky, 48, 8.0)
    expected = slices * ctf * plane.phase_ramps(-made.origin_px[own])
    correlation = (images * expected.conj()).real.sum() / (images.norm() * expected.norm())
    assert float(correlation) > 0.98
    assert float((images * expected.conj()).real.sum() / expected.norm() ** 2) == pytest.approx(1.0, abs=0.03)
    assert torch.allclose(torch.from_numpy(source.read([3, 5])), made.images.read(torch.tensor([3, 5])))


def test_deterministic_runs_leave_the_same_bits_and_the_default_nearly_so(tmp_path: Path) -> None:
    job = Job(260, 32, 0.5, 2, 0, 2, threads=1)
    record = deterministic_cost.measure(job, tmp_path / job.name, 1)
    assert record["results"]["deterministic"] == 1
    last = record["difference"][2]
    assert last["largest voxel"] < 1e-3 and last["lowest FSC"] > 0.999 and last["same class"] > 0.98
    deterministic_cost.show(record)
