"""The canonical 3D classification of EMPIAR-10028 at full size, on particles generated on the card into its memory.

    python -m benchmarks.engine.canonical_10028 --record canonical.jsonl
    torchrun --nproc-per-node 4 -m benchmarks.engine.canonical_10028        # several cards
    python -m benchmarks.engine.canonical_10028 --device cpu --scale tiny   # the same code, to see that it runs

105,247 particles, box 360 at 1.34 A, K = 6, 25 iterations, HEALPix order 2 and one more in the fine pass. Reported:
seconds of every iteration and of each of its parts, the peak of memory, how busy the device was (a sample a second),
and how many particles are assigned alike with products in TF32 and in float32. Nothing is measured where there is no
GPU: the record then reads not-attempted. The generated stack takes 54.6 GB as float32 and half of that with `--half`;
of several processes each holds all of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.engine.busy import Watch
from benchmarks.engine.generated import Generated, generate
from cryorepro.em.class3d import Class3DJob, iterate, start_state
from cryorepro.em.class3d_state import Class3DSettings, Class3DState
from cryorepro.em.devices.choice import chosen_device
from cryorepro.em.devices.ranks import Ranks, joined
from cryorepro.em.devices.rendezvous import place_in
from cryorepro.em.errors import InputError
from cryorepro.em.expectation import make_team
from cryorepro.em.imageset import Poses
from cryorepro.em.rotations import euler_to_matrix, rotation_angle_deg

LIMIT_SECONDS = 480.0
"""What the whole job may take on an H200 to meet its target."""


@dataclass(frozen=True)
class Scale:
    """Size of the job."""

    particles: int
    box_px: int
    pixel_size_angstrom: float
    classes: int
    iterations: int
    healpix_order: int
    snr: float


SCALES = {
    "full": Scale(105_247, 360, 1.34, 6, 25, 2, 0.05),
    "tenth": Scale(10_525, 360, 1.34, 6, 25, 2, 0.05),
    "small": Scale(4_000, 128, 3.77, 4, 10, 2, 0.1),
    "tiny": Scale(120, 32, 15.0, 2, 3, 1, 0.5),
}


def settings_of(scale: Scale) -> Class3DSettings:
    """The field's yardstick's own options."""
    return Class3DSettings(
        particle_diameter_angstrom=360.0, number_of_classes=scale.classes, iterations=scale.iterations, tau2_fudge=4.0,
        ini_high_angstrom=60.0 if scale.box_px > 32 else 70.0, healpix_order=scale.healpix_order, offset_range_px=5.0,
        offset_step_px=2.0, firstiter_cc=True, ctf_corrected_ref=True, flatten_solvent=True, zero_mask=True, norm=True,
        scale=True,
    )  # fmt: skip


def run(scale: Scale, device: torch.device, ranks: Ranks, options: argparse.Namespace) -> dict[str, Any]:
    """Generate, classify, compare; everything that is to be reported."""
    torch.set_num_threads(1 if device.type == "cuda" else options.threads)
    began = time.monotonic()
    made = generate(
        scale.particles, scale.box_px, scale.pixel_size_angstrom, scale.snr, options.seed, device, options.half
    )
    _settle(device)
    generated = time.monotonic() - began
    job = Class3DJob(
        made.images, settings_of(scale), options.seed, options.threads, device=device, exact=options.deterministic,
        ranks=ranks,
    )  # fmt: skip
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with Watch(device) as watch:
        iterations, before, last = _classify(job, made)
    return {
        "status": "measured",
        "seconds_generating": round(generated, 2),
        "seconds": round(sum(one["seconds"] for one in iterations), 2),
        "iterations": iterations,
        "peak_bytes": _peak(device),
        "busy_percent": watch.samples,
        "truth": _truth(made, last),
        "agreement": _agreement(job, before),
    }


def _classify(job: Class3DJob, made: Generated) -> tuple[list[dict[str, Any]], Class3DState, Class3DState]:
    """Every iteration's times, and the states before and after the last one."""
    iterations: list[dict[str, Any]] = []
    began = time.monotonic()
    with make_team(job.images, job.workers, job.device) as team:
        state = start_state(job, made.reference[None], Poses.start(len(job.images)))
        before = state
        while state.iteration < job.settings.iterations:
            team.seconds.clear()
            before, state = state, iterate(job, state, team)
            _settle(job.device)
            seconds, began = time.monotonic() - began, time.monotonic()
            parts = {name: round(value, 3) for name, value in team.seconds.items()}
            parts["the rest"] = round(seconds - sum(team.seconds.values()), 3)
            iterations.append({
                "iteration": state.iteration, "seconds": round(seconds, 3), "parts": parts,
                "image_radius": state.image_radius, "resolution_shell": state.resolution_shell,
                "pmax": round(state.average_pmax, 4),
            })  # fmt: skip
            if job.ranks.first:
                print(json.dumps(iterations[-1]), flush=True)
    return iterations, before, state


def _agreement(job: Class3DJob, before: Class3DState) -> dict[str, float | str]:
    """Shares of particles that the last iteration assigns alike with rounded and with float32 products."""
    states = [
        iterate(replace(job, settings=replace(job.settings, reduced_precision=reduced)), before)
        for reduced in (True, False)
    ]
    first, second = (state.poses for state in states)
    angle = rotation_angle_deg(euler_to_matrix(first.euler_deg), euler_to_matrix(second.euler_deg))
    shift = (first.origin_px - second.origin_px).norm(dim=1)
    return {
        "rounded_to": "TF32" if job.device.type == "cuda" else "bfloat16 in the coarse pass, where the CPU has it",
        "class": float((first.class_index == second.class_index).double().mean()),
        "pose_within_1_degree": float((angle < 1.0).double().mean()),
        "shift_within_a_tenth_pixel": float((shift < 0.1).double().mean()),
    }


def _truth(made: Generated, state: Class3DState) -> dict[str, float]:
    """Share of particles within 15 degrees of their true orientation, and the purity of classes."""
    angle = rotation_angle_deg(euler_to_matrix(state.poses.euler_deg), made.rotations)
    classes = int(state.poses.class_index.max()) + 1
    table = torch.bincount(state.poses.class_index * 3 + made.conformer, minlength=3 * classes).reshape(-1, 3)
    return {
        "within_15_degrees": float((angle < 15.0).double().mean()),
        "purity": float(table.amax(dim=1).sum() / table.sum()),
    }


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def show(record: dict[str, Any]) -> None:
    """Print a record in short."""
    if record["status"] != "measured":
        print(f"{record['status']}: {record['reason']}")
        return
    first = sum(one["seconds"] for one in record["iterations"][:3])
    print(f"{record['seconds']:.1f} s on {record['device']} ({first:.1f} s for the first three iterations),"
          f" {record['seconds_generating']:.1f} s generating; peak {record['peak_bytes'] / 2**30:.1f} GiB")  # fmt: skip
    total: dict[str, float] = {}
    for one in record["iterations"]:
        for name, value in one["parts"].items():
            total[name] = total.get(name, 0.0) + value
    print("  " + ", ".join(f"{name} {value:.1f} s" for name, value in total.items()))
    print(f"  truth {record['truth']}\n  rounded against float32 {record['agreement']}")
    if record["scale"] == "full" and record["device"] != "cpu":
        print(f"  target of {LIMIT_SECONDS:.0f} s: {'met' if record['seconds'] <= LIMIT_SECONDS else 'missed'}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure if there is what is to be measured, print, record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--scale", choices=sorted(SCALES), default="full")
    parser.add_argument("--iterations", type=int, help="fewer or more than the scale's")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="workers, on the CPU")
    parser.add_argument("--half", action="store_true", help="keep the images as float16")
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--record", type=Path, help="append the measurements to this JSON-lines file")
    options = parser.parse_args(arguments)
    scale = SCALES[options.scale]
    scale = replace(scale, iterations=options.iterations or scale.iterations)
    place = place_in(os.environ)
    record: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "scale": options.scale, "job": asdict(scale),
        "device": options.device, "processes": place.size if place else 1, "torch": torch.__version__,
        "deterministic": options.deterministic,
    }  # fmt: skip
    try:
        device = chosen_device(options.device, "canonical_10028", place.local_rank if place else 0)
    except InputError as error:
        record |= {"status": "not-attempted", "reason": str(error)}
    else:
        record["device"] = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        record["processor"] = platform.processor() or platform.machine()
        with joined(place, device) as ranks:
            record |= run(scale, device, ranks, options)
    if place is None or place.rank == 0:
        show(record)
        if options.record:
            with options.record.open("a") as stream:
                stream.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
