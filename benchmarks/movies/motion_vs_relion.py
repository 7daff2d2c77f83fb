"""Motion correction against relion_run_motioncorr --use_own: CPU-seconds, and the motion that is left.

    python -m benchmarks.movies.motion_vs_relion --data DIR [--side 4096] [--frames 12] [--movies 3] [--rounds 2]
    python -m benchmarks.movies.motion_vs_relion --twin DATA TRUTH --dose 58 [--rounds 2]

Both get the same list of movies (8-bit LZW TIFF), gain reference and options: 5 x 5 patches, exposure weighting,
B-factor 150 in RELION's terms, one thread each, interleaved. The movies are counts of a scene of known motion (drift,
and a local motion that relaxes), made once in ``--data`` by splines; or those of a twin with its truth. The start of
the process is taken out by doing one and ``--movies`` of them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from cryorepro_engines.runner import RelionLikeRunner
from cryorepro_metrics.motion_truth import movie_squares
from cryorepro_metrics.movie_truth import stem_of, true_motions
from cryorepro_relion.runner import RelionRunner
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, spline_filter

from benchmarks.engine.metered import run_metered
from cryorepro.em.formats.star import read_star
from cryorepro.em.motion.files import read_trajectory
from cryorepro.em.movie_twin.motion import MovieMotion
from cryorepro.em.movies.table import MovieGroup, read_movie_table, write_movie_table
from cryorepro.em.movies.writers import write_movie_mrc, write_movie_tiff
from cryorepro.model.motion_stage import MotionCorrectionParameters
from cryorepro.model.stage import StageRequest

Floats = NDArray[np.float64]
GROUP = MovieGroup(300.0, 2.7, 0.1, 1.0)
DOSE, RATE, CONTRAST, LOCAL_PX = 1.5, 1.0, 0.12, 5.0
RUNNERS: dict[str, RelionLikeRunner | RelionRunner] = {"ours": RelionLikeRunner(), "RELION": RelionRunner()}
_EDGE, _ROWS = 64, 256


@dataclass(frozen=True)
class Movies:
    """Lists of one and of many movies, what else both programs are given, and the true motion by name."""

    few: Path
    many: Path
    inputs: dict[str, Path]
    parameters: dict[str, float | bool]
    truth: dict[str, MovieMotion]
    megapixels: float


def simulate(directory: Path, side: int, frames: int, count: int) -> Movies:
    """One movie under ``count`` names; kept in ``directory`` for the next time."""
    motion = _motion(side, frames)
    names = [f"movies/m{number}.tif" for number in range(count)]
    known = {"side": side, "frames": frames, "count": count}
    made = directory / "made.json"
    if not (made.is_file() and json.loads(made.read_text()) == known):
        (directory / "movies").mkdir(parents=True, exist_ok=True)
        gain = np.random.default_rng(2).normal(1.0, 0.03, (side, side)).clip(0.8).astype(np.float32)
        write_movie_mrc(directory / "gain.mrc", gain[None, ::-1], 2)
        counts = _counts(motion, gain)
        for name in names:
            write_movie_tiff(directory / name, counts[:, ::-1], "lzw")
        made.write_text(json.dumps(known))
    write_movie_table(directory / "few.star", names[:1], GROUP)
    write_movie_table(directory / "many.star", names, GROUP)
    parameters: dict[str, float | bool] = {"dose_per_frame_e_per_square_angstrom": DOSE, "flip_gain_y": True}
    truth = {stem_of(name): motion for name in names}
    return Movies(
        directory / "few.star", directory / "many.star", {"gain": directory / "gain.mrc"}, parameters, truth,
        frames * side * side / 1e6,
    )  # fmt: skip


def _motion(side: int, frames: int) -> MovieMotion:
    time = np.arange(frames, dtype=np.float64)
    jitter = np.random.default_rng(5).normal(0.0, 0.15, (frames, 2))
    drift = np.stack([9.0 * (1 - np.exp(-time / 3.0)) + 0.3 * time, -4.0 * (1 - np.exp(-time / 5.0))], axis=1)
    field = np.array([[0.0, 1.5, 0.0, 0.0, -2.0, 0.8], [0.0, -0.5, 1.2, 1.6, 0.0, 0.0]])
    grown = LOCAL_PX * (1.0 - np.exp(-time / 4.0))
    return MovieMotion((side, side), drift + jitter - jitter[0], grown[:, None, None] * field)


def _counts(motion: MovieMotion, gain: NDArray[np.float32]) -> NDArray[np.uint8]:
    rng = np.random.default_rng(7)
    side, frames = motion.shape[0], len(motion.drift_px)
    whole = side + 2 * _EDGE
    k = np.hypot(np.fft.fftfreq(whole)[:, None], np.fft.rfftfreq(whole)[None])
    shape = np.sin(900.0 * k**2 + 0.1) * np.exp(-((k / 0.1) ** 2)) * (k < 0.25)
    scene = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((whole, whole))) * shape, s=(whole, whole))
    spline = spline_filter(scene / scene.std(), order=3).astype(np.float32)
    counts = np.empty((frames, side, side), dtype=np.uint8)
    for top in range(0, side, _ROWS):
        y, x = (axis.astype(float) for axis in np.mgrid[top : min(top + _ROWS, side), :side])
        for frame in range(frames):
            dx, dy = motion.drift_px[frame]
            points = np.stack([(x - dx).ravel(), (y - dy).ravel()], axis=1)
            moved = MovieMotion(motion.shape, motion.drift_px[frame : frame + 1], motion.field_px[frame : frame + 1])
            local = moved.local(points)[0].T.reshape(2, *x.shape)
            where = np.stack([y - dy - local[1] + _EDGE, x - dx - local[0] + _EDGE])
            seen = map_coordinates(spline, where, order=3, mode="nearest", prefilter=False)
            mean = RATE * np.clip(1.0 + CONTRAST * seen, 0.05, None) / gain[top : top + len(y)]
            counts[frame, top : top + len(y)] = np.clip(rng.poisson(mean), 0, 255)
    return counts


def twin(data: Path, truth: Path, dose: float) -> Movies:
    """A twin's movies; the total dose is that of its dataset."""
    table = read_movie_table(data / "movies.star")
    recorded = json.loads((data / "twin.json").read_text())
    shape = (recorded["rows_px"], recorded["columns_px"])
    motions = true_motions(read_star(truth / "truth_trajectories.star")["trajectories"], shape)
    usable = [name for name in table.names if stem_of(name) in motions]
    few, many = data / "few.star", data / "many.star"
    write_movie_table(few, usable[:1], table.groups[0])
    write_movie_table(many, usable, table.groups[0])
    inputs = {"gain": next(data.glob("*.mrc")), "defects": data / "defects.txt"}
    parameters: dict[str, float | bool] = {"total_dose_e_per_square_angstrom": dose, "flip_gain_y": True}
    return Movies(few, many, inputs, parameters, motions, recorded["frames"] * shape[0] * shape[1] / 1e6)


def correct(program: str, movies: Movies, listed: Path, output: Path) -> tuple[float, float, list[float]]:
    """CPU and wall seconds of a whole job, and mean square motion that is left in each movie."""
    parameters = MotionCorrectionParameters.model_validate(movies.parameters | {"unweighted_sums": False}).model_dump()
    request = StageRequest(
        stage="motion", kind="motioncorrection", parameters=parameters, inputs={"movies": listed} | movies.inputs,
        output_dir=output, seed=1,
    )  # fmt: skip
    output.mkdir(parents=True)
    command = RUNNERS[program].plan(request)
    spent = run_metered(command.argv, output, {}, command.environment, output / "log.txt")
    result = RUNNERS[program].collect(request, output / "log.txt")
    table = read_star(output / result.outputs["micrographs"])["micrographs"]
    left = []
    for name, file in zip(table.text("rlnMicrographName"), table.text("rlnMicrographMetadata"), strict=True):
        left.append(movie_squares(read_trajectory(output / file), movies.truth[stem_of(name)], 9)["left"])
    return spent.cpu_seconds, spent.wall_seconds, left


def compare(movies: Movies, directory: Path, rounds: int) -> list[str]:
    """The table's rows, medians of interleaved rounds."""
    count = len(read_movie_table(movies.many).names)
    each: dict[str, list[tuple[float, float, float]]] = {name: [] for name in RUNNERS}
    rest: dict[str, float] = {}
    for turn in range(rounds):
        for name in RUNNERS if turn % 2 == 0 else reversed(RUNNERS):
            few = correct(name, movies, movies.few, directory / f"{turn}-{name}-few")
            many = correct(name, movies, movies.many, directory / f"{turn}-{name}-many")
            steps = ((many[0] - few[0]) / (count - 1), (many[1] - few[1]) / (count - 1))
            each[name].append((*steps, few[0] - steps[0]))
            rest[name] = float(np.sqrt(np.mean(many[2])))
    cpu = {name: median(cpu for cpu, _, _ in each[name]) for name in RUNNERS}
    wall = {name: median(wall for _, wall, _ in each[name]) for name in RUNNERS}
    start = {name: median(start for _, _, start in each[name]) for name in RUNNERS}
    return [
        f"| {name} | {cpu[name]:.2f} | {movies.megapixels / cpu[name]:.1f} | {wall[name]:.2f} | {start[name]:.1f} |"
        f" {cpu['RELION'] / cpu[name]:.2f} | {rest[name]:.3f} |"
        for name in RUNNERS
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--twin", type=Path, nargs=2, metavar=("DATA", "TRUTH"))
    parser.add_argument("--dose", type=float, help="of a whole movie of the twin, e/A^2")
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--movies", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args(arguments)
    if given.twin is None and given.data is None:
        parser.error("--data or --twin is needed")
    movies = (
        simulate(given.data, given.side, given.frames, given.movies)
        if given.twin is None
        else twin(given.twin[0], given.twin[1], given.dose)
    )
    if given.rounds < 1:
        return
    print(
        "| program | CPU s per movie | Mpx per CPU s | wall s per movie | start, CPU s |"
        " RELION's CPU : its own | left, px rms |"
    )
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        print("\n".join(compare(movies, Path(name), given.rounds)))


if __name__ == "__main__":
    main()
