"""Small twins of movies for tests: 512 x 512 pixels, ten frames, a few movies, made in seconds; and their truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cryorepro_datasets import empiar_10025_twin, empiar_10288_twin
from cryorepro_datasets.movie_twin_truth import truth_files
from numpy.typing import NDArray

from cryorepro.em.formats.star import StarBlock, read_star
from cryorepro.em.movie_twin.motion import TERMS, MovieMotion
from cryorepro.em.movies.correction import correct_frames
from cryorepro.em.movies.defects import find_hot_pixels, read_defects
from cryorepro.em.movies.gain import read_gain
from cryorepro.em.movies.opening import open_movie
from cryorepro.model.dataset import DataRequest, PreparedData

SMALL = {
    "empiar-10288": {
        "movies": 3, "odd_movies": 1, "rows_px": 512, "columns_px": 512, "frames": 10, "particles_per_movie": 22,
        "box_px": 96, "model_box_px": 96, "belts": 3,
    },
    "empiar-10025": {
        "movies": 2, "rows_px": 512, "columns_px": 512, "frames": 10, "particles_per_movie": 18,
        "box_px": 96, "model_box_px": 96,
    },
}  # fmt: skip
_MODULES = {"empiar-10288": empiar_10288_twin, "empiar-10025": empiar_10025_twin}


@dataclass(frozen=True)
class SmallTwin:
    """A twin and what is true of it."""

    name: str
    data: PreparedData
    truth: dict[str, Path]

    @property
    def movies(self) -> list[Path]:
        """The movies of the common shape, in order."""
        folder = self.data.files["movies"].parent / "movies"
        return [next(folder.glob(f"{stem}.*")) for stem in self.stems]

    @property
    def stems(self) -> list[str]:
        """Their names without the last extension, as micrographs have them."""
        return [Path(name).stem for name in self.table("defocus").text("rlnMicrographName")]

    def table(self, role: str) -> StarBlock:
        """A table of the truth: ``trajectories``, ``defocus``, ``particles`` or ``dirt``."""
        return read_star(self.truth[role])[role]

    def rows(self, role: str, stem: str) -> NDArray[np.int64]:
        """Rows of a table that are about one movie."""
        names = self.table(role).text("rlnMicrographName")
        return np.array([row for row, name in enumerate(names) if Path(name).stem == stem], dtype=np.int64)

    def motion(self, stem: str) -> MovieMotion:
        """The true motion of a movie."""
        table, rows = self.table("trajectories"), self.rows("trajectories", stem)
        drift = np.stack([table.numbers(f"cryoreproDrift{axis}")[rows] for axis in "XY"], axis=1)
        field = [[table.numbers(f"cryoreproLocal{axis}{term}")[rows] for term in range(TERMS)] for axis in "XY"]
        return MovieMotion(self.gain().shape, drift, np.array(field).transpose(2, 0, 1))

    def positions(self, stem: str) -> NDArray[np.float64]:
        """True particle centres ``[n, 2]`` (x, y) of a movie, in pixels of the first frame."""
        table, rows = self.table("particles"), self.rows("particles", stem)
        return np.stack([table.numbers(f"rlnCoordinate{axis}")[rows] for axis in "XY"], axis=1)

    def gain(self) -> NDArray[np.float32]:
        """The gain reference in the orientation of the truth."""
        return read_gain(self.data.files["gain"], flip="y")

    def frames(self, path: Path) -> NDArray[np.float32]:
        """Corrected frames ``[f, y, x]`` of a movie in the orientation of the truth (TIFF is turned upside down)."""
        with open_movie(path) as movie:
            counts = movie.read_all()
        if path.suffix != ".mrc":
            counts = np.ascontiguousarray(counts[:, ::-1])
        gain = self.gain()
        bad = read_defects(self.data.files["defects"], gain.shape) | find_hot_pixels(counts, gain)
        return correct_frames(counts, gain, bad)

    def aligned_sum(self, path: Path) -> NDArray[np.float32]:
        """The sum of a movie's frames, each moved back by the true drift (not by the local motion)."""
        frames, drift = self.frames(path), self.motion(path.stem).drift_px
        ky = np.fft.fftfreq(frames.shape[1])[:, None]
        kx = np.fft.rfftfreq(frames.shape[2])[None]
        total = sum(
            np.fft.rfft2(frame) * np.exp(2j * np.pi * (x * kx + y * ky))
            for frame, (x, y) in zip(frames, drift, strict=True)
        )
        return np.fft.irfft2(total, s=frames.shape[1:]).astype(np.float32)


def small_twin(folder: Path, name: str = "empiar-10288", seed: int = 7, **parameters: Any) -> SmallTwin:
    """Simulate a small twin of a dataset below ``folder``; ``parameters`` change what ``SMALL`` says."""
    request = DataRequest(
        tier="twin", directory=folder / "data", truth_directory=folder / "truth", seed=seed,
        parameters={**SMALL[name], **parameters},
    )  # fmt: skip
    return SmallTwin(name, _MODULES[name].prepare(request), truth_files(request.truth_directory))
