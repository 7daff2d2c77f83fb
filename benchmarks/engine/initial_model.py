"""Initial models from particles alone: the ribosome twin, two conformers, real apoferritin, and RELION beside it.

    python -m benchmarks.engine.initial_model twin --seeds 1 2 3
    python -m benchmarks.engine.initial_model classes --seeds 1 2 3
    python -m benchmarks.engine.initial_model apoferritin --data ../shared/data/apoferritin_EMPIAR-10146
    python -m benchmarks.engine.initial_model relion
    python -m benchmarks.engine.initial_model course

Every model is made by the stage's own program, from files that hold no pose, class or map. A model from nothing may
come out mirrored: it is compared in both hands, and the hand is reported.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cryorepro_datasets.apoferritin import prepare_subset
from cryorepro_datasets.twin import prepare_twin, truth_files
from cryorepro_engines.runner import RelionLikeRunner
from cryorepro_relion.runner import RelionRunner

from cryorepro.em.align import align_maps, transform_map
from cryorepro.em.atomic import model_density, read_model
from cryorepro.em.formats.maps import read_map
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.fsc import crossing, fsc_curve
from cryorepro.em.half_sets import unregularised
from cryorepro.em.imageset import Poses
from cryorepro.em.model_symmetry import orient_to_symmetry
from cryorepro.em.particle_images import open_particle_images
from cryorepro.em.pose_reconstruction import sums_from_poses
from cryorepro.em.render import write_sections_png
from cryorepro.em.rotations import matrix_to_euler, random_rotations
from cryorepro.em.symmetry import symmetry_matrices
from cryorepro.model.dataset import DataRequest
from cryorepro.model.stage import StageRequest

RUNNERS: dict[str, type[RelionLikeRunner] | type[RelionRunner]] = {"ours": RelionLikeRunner, "RELION": RelionRunner}
MIRROR = np.diag([1.0, 1.0, -1.0])
TWIN = {
    "particle_diameter_angstrom": 360.0, "initial_iterations": 30, "inbetween_iterations": 60, "final_iterations": 20,
    "initial_subset": 100, "final_subset": 250, "final_resolution_angstrom": 25.0, "write_every": 10,
}  # fmt: skip
APOFERRITIN = {
    "particle_diameter_angstrom": 130.0, "symmetry": "O", "run_in_c1": False, "healpix_order": 2,
    "offset_range_px": 3.0, "initial_iterations": 30, "inbetween_iterations": 40, "final_iterations": 40,
    "initial_subset": 100, "final_subset": 220, "initial_resolution_angstrom": 21.0,
    "final_resolution_angstrom": 12.0, "noise_factor": 4.0, "positivity": False, "write_every": 10,
}  # fmt: skip
# One of RELION's first iterations takes most of a minute: enough to compare times, too short to compare maps.
SHORT = TWIN | {"initial_iterations": 4, "inbetween_iterations": 4, "final_iterations": 1, "write_every": 1}
# A whole course that RELION can be waited for: small shifts, few and small batches.
COURSE = TWIN | {
    "offset_range_px": 3.0, "initial_iterations": 20, "inbetween_iterations": 30, "final_iterations": 10,
    "initial_subset": 100, "final_subset": 200,
}  # fmt: skip


@dataclass(frozen=True)
class Made:
    """A finished job: its map, its table, and the CPU seconds it took with its children."""

    volume: np.ndarray
    pixel_size_angstrom: float
    directory: Path
    particles: Path
    cpu_seconds: float


def make(program: str, star: Path, parameters: dict[str, Any], seed: int, directory: Path) -> Made:
    """Carry the stage out with one of the two programs, as a run would.

    Raises:
        RuntimeError: it failed; the end of its output is quoted.
    """
    directory.mkdir(parents=True)
    runner = RUNNERS[program]()
    asked = StageRequest(
        stage="initial-model", kind="initialmodel", inputs={"particles": star}, parameters=parameters, seed=seed,
        output_dir=directory,
    )  # fmt: skip
    command, log = runner.plan(asked), directory / "log.txt"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with log.open("w") as stream:
        environment = os.environ | dict(command.environment)
        done = subprocess.run(
            command.argv, cwd=command.cwd, env=environment, stdout=stream, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode != 0:
        raise RuntimeError(f"{program} ended with {done.returncode}: {log.read_text()[-1500:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = runner.collect(asked, log)
    volume, pixel = read_map(directory / result.outputs["map"])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Made(volume.astype(np.float64), pixel, directory, directory / result.outputs["particles"], cpu)


@dataclass(frozen=True)
class Match:
    """Agreement with a true map: where the FSC crosses 0.5, in which hand, the mean FSC of both, and the moved map."""

    resolution_angstrom: float
    mirrored: bool
    score: float
    other_hand_score: float
    moved: np.ndarray


def match(truth: np.ndarray, volume: np.ndarray, pixel: float) -> Match:
    """Lay a map on the truth in both hands; the better one counts."""
    found = align_maps(truth, volume, pixel, "C1", 45.0, 25.0, rotations=1200)
    mirrored = not found.same_hand
    if mirrored:
        volume = np.ascontiguousarray(np.roll(volume[::-1], 1, axis=0))
        found = align_maps(truth, volume, pixel, "C1", 45.0, 25.0, rotations=1200)
    moved = transform_map(volume, found.rotation, found.shift_angstrom / pixel)
    resolution = crossing(fsc_curve(truth, moved), 0.5).interpolated_angstrom(len(truth), pixel)
    return Match(resolution, mirrored, found.score, found.other_hand_score, moved)


def prepare_ribosome(directory: Path, seed: int, particles: int, shares: tuple[float, ...]) -> tuple[Path, list[Path]]:
    """The twin of EMPIAR-10028 and the true maps of its conformers."""
    request = DataRequest(
        tier="twin", directory=directory / f"data{seed}", truth_directory=directory / f"truth{seed}", seed=seed,
        parameters={"particles": particles, "class_shares": shares},
    )  # fmt: skip
    star = prepare_twin(request).files["particles"]
    truth = truth_files(request.truth_directory)
    return star, [truth[role] for role in sorted(truth) if role.startswith("class")]


def twin(directory: Path, seeds: Sequence[int], program: str = "ours", course: dict[str, Any] = TWIN) -> None:
    """One map of the mixture, against the full particle, over seeds of the search."""
    star, truth = prepare_ribosome(directory, 1, 1500, (0.40, 0.25, 0.35))
    full = read_map(truth[0])[0].astype(np.float64)
    reached = 0
    for seed in seeds:
        made = make(program, star, course, seed, directory / f"{program}{seed}")
        found = match(full, made.volume, made.pixel_size_angstrom)
        reached += found.resolution_angstrom < 30.0
        print(
            f"{program} seed {seed}: FSC 0.5 with the full particle at {found.resolution_angstrom:.1f} A "
            f"({'mirrored' if found.mirrored else 'same hand'}; mean FSC to 25 A {found.score:.2f}, in the other hand "
            f"{found.other_hand_score:.2f}), "
            f"{made.cpu_seconds:.0f} CPU-s",
            flush=True,
        )
    print(f"{program}: {reached} of {len(seeds)} seeds beyond 30 A", flush=True)


def classes(directory: Path, seeds: Sequence[int], picture: Path | None) -> None:
    """Two classes of a set of two conformers, half of each: the full particle, and the large subunit alone."""
    star, truth = prepare_ribosome(directory, 1, 1200, (0.5, 0.5, 0.0))
    true_class = read_particles(directory / "truth1" / "truth_particles.star").numbers("rlnClassNumber") - 1
    for seed in seeds:
        made = make("ours", star, TWIN | {"number_of_classes": 2}, seed, directory / f"classes{seed}")
        found = read_particles(made.particles).numbers("rlnClassNumber") - 1
        order = max(permutations(range(2)), key=lambda p: np.mean(np.array(p)[found.astype(int)] == true_class))
        right = float(np.mean(np.array(order)[found.astype(int)] == true_class))
        print(f"seed {seed}: {right:.3f} of particles in the right class (chance 0.5), {made.cpu_seconds:.0f} CPU-s")
        for number, path in enumerate(sorted(made.directory.glob(f"{_last(made)}_class*.mrc"))):
            volume, pixel = read_map(path)
            against = read_map(truth[order[number]])[0].astype(np.float64)
            matched = match(against, volume.astype(np.float64), pixel)
            print(
                f"  class {number + 1}: FSC 0.5 with its conformer at {matched.resolution_angstrom:.1f} A", flush=True
            )
            if picture is not None and seed == seeds[0]:
                name = picture.with_name(f"{picture.stem}-{number + 1}.png")
                write_sections_png(name, matched.moved, pixel, title=f"class {number + 1}")


def _last(made: Made) -> str:
    return made.particles.name.removesuffix("_data.star")


def apoferritin(directory: Path, seeds: Sequence[int], data: Path, picture: Path | None) -> None:
    """Real particles, octahedral symmetry imposed, against the atomic model; and random poses as a control."""
    prepared = prepare_subset(
        DataRequest(
            tier="subset", directory=directory / "data", truth_directory=directory / "truth", seed=1, local_path=data
        )
    )
    star, model = prepared.files["particles"], orient_to_symmetry(read_model(prepared.files["model"]), "O")
    pixel = prepared.pixel_size_angstrom
    assert pixel is not None and prepared.box_px is not None
    box = prepared.box_px
    hands = [model_density(m, box, pixel) for m in (model, model.moved(MIRROR, np.zeros(3)))]
    shown = [crossing(fsc_curve(random_pose_map(star), m), 0.5).interpolated_angstrom(box, pixel) for m in hands]
    print(f"random poses: FSC 0.5 with the model at {shown[0]:.1f} A, mirrored {shown[1]:.1f} A", flush=True)
    for seed in seeds:
        made = make("ours", star, APOFERRITIN, seed, directory / f"job{seed}")
        curves = [fsc_curve(made.volume, m) for m in hands]
        half, seventh = (
            [crossing(c, level).interpolated_angstrom(box, pixel) for c in curves] for level in (0.5, 0.143)
        )
        print(
            f"seed {seed}: FSC 0.5 with the model at {half[0]:.1f} A, mirrored {half[1]:.1f} A; "
            f"0.143 at {seventh[0]:.1f} and {seventh[1]:.1f} A; {made.cpu_seconds:.0f} CPU-s",
            flush=True,
        )
        if picture is not None and seed == seeds[0]:
            write_sections_png(picture, made.volume, pixel, title="apoferritin from its particles alone")


def random_pose_map(star: Path) -> np.ndarray:
    """The same particles at orientations drawn at random, symmetrised and filtered like a model."""
    images = open_particle_images(star).images
    generator = torch.Generator().manual_seed(1)
    poses = Poses.start(len(images), euler_deg=matrix_to_euler(random_rotations(len(images), generator)))
    group = torch.from_numpy(symmetry_matrices("O"))
    radius = round(images.box_px * images.pixel_size_angstrom / 12.0)
    sums = sums_from_poses(images, poses, torch.arange(len(images)), radius, group)
    return unregularised([sums], images.box_px, radius)[0].numpy().astype(np.float64)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the comparisons in a temporary directory and print its lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=("twin", "classes", "apoferritin", "relion", "course"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/apoferritin_EMPIAR-10146"))
    parser.add_argument("--picture", type=Path, help="write sections of the first seed's maps here")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if options.what == "twin":
            twin(directory, options.seeds)
        elif options.what == "classes":
            classes(directory, options.seeds, options.picture)
        elif options.what == "apoferritin":
            apoferritin(directory, options.seeds, options.data, options.picture)
        else:
            course, seeds = (SHORT, options.seeds[:1]) if options.what == "relion" else (COURSE, options.seeds)
            twin(directory / "ours", seeds, "ours", course)
            twin(directory / "relion", seeds, "RELION", course)


if __name__ == "__main__":
    main()
