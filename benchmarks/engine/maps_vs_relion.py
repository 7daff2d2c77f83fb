"""LocalRes, CtfRefine, PostProcess and MaskCreate of both programs on the same files: time and agreement.

    python -m benchmarks.engine.maps_vs_relion [--box 128] [--particles 1000] [--repeats 3] [--sampling 25]

The commands are those of the runners ``relion`` and ``relion-like``, one thread each, interleaved; wall and CPU time
are of whole processes, start-up included.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cryorepro_engines.runner import RelionLikeRunner
from cryorepro_relion.runner import RelionRunner

from benchmarks.engine.maps_set import LOWPASS_ANGSTROM, TILT_MRAD, MapsSet, defocus_errors, write_maps_set
from benchmarks.engine.metered import Metered, run_metered
from cryorepro.em.formats.maps import read_map
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.star import read_star
from cryorepro.model.processing_stages import KNOWN_PARAMETERS
from cryorepro.model.stage import StageRequest

RUNNERS: dict[str, Any] = {"relion": RelionRunner, "ours": RelionLikeRunner}
WINDOW = {"mask_radius_angstrom": 12.5, "mask_edge_angstrom": 25.0}
"""RELION's default at its default sampling, whatever the sampling."""
Outputs = dict[str, list[Path]]


def jobs(data: MapsSet, sampling_angstrom: float = 25.0) -> dict[str, tuple[dict[str, Any], dict[str, str]]]:
    """Parameters of each stage kind, and the file behind every input role."""
    halves = {"half1": "half1", "half2": "half2", "mask": "mask"}
    return {
        "maskcreate": ({"threshold": data.threshold, "lowpass_angstrom": LOWPASS_ANGSTROM}, {"map": "half1"}),
        "postprocess": ({"lowest_resolution_angstrom": 8.0}, halves),
        "localres": (
            WINDOW | {"sampling_angstrom": sampling_angstrom},
            halves | {"half1": "uneven1", "half2": "uneven2"},
        ),
        "ctfrefine": (
            {"lowest_resolution_angstrom": 15.0},
            halves | {"particles": "particles", "postprocess": "postprocess"},
        ),
    }


def run_kind(
    kind: str, data: MapsSet, directory: Path, repeats: int, sampling_angstrom: float
) -> tuple[dict[str, list[Metered]], Outputs]:
    """Run both programs in turn, ``repeats`` times, with another seed each time."""
    parameters, roles = jobs(data, sampling_angstrom)[kind]
    inputs = {role: data.paths[name] for role, name in roles.items()}
    complete = KNOWN_PARAMETERS[kind].model_validate(parameters).model_dump()
    times: dict[str, list[Metered]] = {name: [] for name in RUNNERS}
    outputs: Outputs = {name: [] for name in RUNNERS}
    for repeat in range(repeats):
        for name, runner in RUNNERS.items():
            output = directory / f"{kind}-{name}-{repeat}"
            output.mkdir()
            request = StageRequest(
                stage=kind, kind=kind, parameters=complete, inputs=inputs, output_dir=output, seed=repeat + 1
            )
            planned = runner().plan(request)
            log = output / "log.txt"
            times[name].append(run_metered(planned.argv, planned.cwd, {}, planned.environment, log))
            runner().collect(request, log)
            outputs[name].append(output)
    return times, outputs


def compare_maskcreate(_data: MapsSet, outputs: Outputs) -> list[str]:
    """Volumes of the masks."""
    first, second = (read_map(outputs[name][0] / "mask.mrc")[0].astype(np.float64) for name in RUNNERS)
    ratio = second.sum() / first.sum()
    return [f"volume ours / RELION {ratio:.6f}", f"largest difference of a voxel {np.abs(first - second).max():.2g}"]


def compare_postprocess(_data: MapsSet, outputs: Outputs) -> list[str]:
    """Curves and resolutions."""
    tables = {name: [read_star(path / "postprocess.star") for path in paths] for name, paths in outputs.items()}
    lines = []
    for label in ("UnmaskedMaps", "MaskedMaps", "Corrected"):
        curves = {n: np.array([t["fsc"].numbers(f"rlnFourierShellCorrelation{label}") for t in ts])
                  for n, ts in tables.items()}  # fmt: skip
        difference = np.abs(curves["ours"][0] - curves["relion"][0])[1:].max()
        spread = np.ptp(curves["ours"], axis=0)[1:].max()
        lines.append(f"FSC {label}: largest difference {difference:.2g} (between seeds of ours {spread:.2g})")
    for label in ("rlnFinalResolution", "rlnBfactorUsedForSharpening"):
        values = {n: [round(float(t["general"].numbers(label)[0]), 3) for t in ts] for n, ts in tables.items()}
        lines.append(f"{label}: RELION {values['relion']}, ours {values['ours']}")
    return lines


def compare_localres(data: MapsSet, outputs: Outputs) -> list[str]:
    """Voxels inside the mask, and what another seed changes."""
    inside = read_map(data.paths["mask"])[0] > 0.5
    for name in RUNNERS:  # sparse windows do not reach every voxel
        inside &= read_map(outputs[name][0] / "relion_locres.mrc")[0] > 0
    maps = {n: [read_map(path / "relion_locres.mrc")[0][inside] for path in paths] for n, paths in outputs.items()}
    pairs = {"ours and RELION": (maps["ours"][0], maps["relion"][0])}
    for name in RUNNERS:
        if len(maps[name]) > 1:
            pairs[f"two seeds of {name}"] = (maps[name][0], maps[name][1])
    lines = [f"median resolution: RELION {np.median(maps['relion'][0]):.2f} A, ours {np.median(maps['ours'][0]):.2f} A"]
    for what, (first, second) in pairs.items():
        difference = np.median(np.abs(first - second) / second)
        lines.append(f"{what}: median difference {difference:.1%}, correlation {np.corrcoef(first, second)[0, 1]:.4f}")
    return lines


def compare_ctfrefine(data: MapsSet, outputs: Outputs) -> list[str]:
    """Errors against the truth, before and after."""
    true = data.truth.views.defocus
    lines = [
        "before: defocus error {:.1f} A rms ({:.1f} median), astigmatism {:.1f} A".format(
            *defocus_errors(data.stated_defocus, true)
        )
    ]
    for name in RUNNERS:
        table = read_particles(outputs[name][0] / "particles_ctf_refine.star")
        # RELION sorts by micrograph; images are numbered in the order of the truth
        table = table.subset(np.argsort([int(image.partition("@")[0]) for image in table.image_names]))
        columns = (table.defocus_u_angstrom, table.defocus_v_angstrom, table.defocus_angle_degrees)
        errors = defocus_errors(np.stack(columns, axis=1), true)
        tilt = (table.optics[0].beam_tilt_x_mrad, table.optics[0].beam_tilt_y_mrad)
        lines.append(
            f"{name}: defocus error {errors[0]:.1f} A rms ({errors[1]:.1f} median), astigmatism {errors[2]:.1f} A,"
            f" beam tilt {tilt[0]:.3f}, {tilt[1]:.3f} mrad (true {TILT_MRAD[0]}, {TILT_MRAD[1]})"
        )
    return lines


COMPARISONS: dict[str, Callable[[MapsSet, Outputs], list[str]]] = {
    "maskcreate": compare_maskcreate,
    "postprocess": compare_postprocess,
    "localres": compare_localres,
    "ctfrefine": compare_ctfrefine,
}


def show(kind: str, times: dict[str, list[Metered]], lines: list[str]) -> None:
    """Print medians, their ratios and the comparison."""
    medians = {
        name: [statistics.median(getattr(run, field) for run in runs) for field in ("wall_seconds", "cpu_seconds")]
        for name, runs in times.items()
    }
    (wall, cpu), (our_wall, our_cpu) = medians["relion"], medians["ours"]
    print(f"{kind}: wall {wall:.2f} s / {our_wall:.2f} s = {wall / our_wall:.2f};"
          f" CPU {cpu:.2f} s / {our_cpu:.2f} s = {cpu / our_cpu:.2f}  (RELION / ours)")  # fmt: skip
    for line in lines:
        print(f"    {line}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the kinds asked for in a temporary directory and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--particles", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sampling", type=float, default=25.0, help="of the local resolution, in Angstrom")
    parser.add_argument("--kinds", nargs="+", choices=list(COMPARISONS), default=list(COMPARISONS))
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        data = write_maps_set(Path(directory), options.box, options.particles)
        for kind in options.kinds:
            times, outputs = run_kind(kind, data, Path(directory), options.repeats, options.sampling)
            show(kind, times, COMPARISONS[kind](data, outputs))


if __name__ == "__main__":
    main()
