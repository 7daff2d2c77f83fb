"""Small movies whose motion is known: counts of a still scene seen through drift and a local motion that relaxes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MovingScene:
    """What the camera sees.

    ``drift_px`` [frames, 2] (x, y) is where the specimen is relative to frame 0; ``local_px`` (largest) grows with
    1 - exp(-frame / relaxation) in a dome-like pattern of its own for x and y.
    """

    size: int = 1024
    frames: int = 12
    rate: float = 1.0
    contrast: float = 0.12
    local_px: float = 0.0
    relaxation: float = 4.0
    drift_px: tuple[tuple[float, float], ...] = ()
    seed: int = 1
    _kept: dict[str, Floats] = field(default_factory=dict, compare=False)

    def drift(self) -> Floats:
        """Positions of the whole specimen."""
        if self.drift_px:
            return np.array(self.drift_px, dtype=np.float64)
        time = np.arange(self.frames, dtype=np.float64)
        rng = np.random.default_rng(self.seed + 100)
        jitter = rng.normal(0.0, 0.15, (self.frames, 2))
        path = np.stack([9.0 * (1 - np.exp(-time / 3.0)) + 0.3 * time, -4.0 * (1 - np.exp(-time / 5.0))], axis=1)
        return np.asarray(path + jitter - jitter[0])

    def local(self, frame: int, x: Floats, y: Floats) -> Floats:
        """Positions [2, ...] of the specimen at pixels x, y relative to frame 0, less the drift."""
        u, v = x / self.size - 0.5, y / self.size - 0.5
        grown = self.local_px * (1.0 - np.exp(-frame / self.relaxation))
        return np.asarray(grown * np.stack([1.5 * u - 2.0 * u * v + 0.8 * v**2, 1.2 * v + 1.6 * u**2 - 0.5 * u]))

    def scene(self) -> Floats:
        """The specimen: noise of all frequencies up to half of Nyquist, most of it low."""
        if "scene" not in self._kept:
            rng = np.random.default_rng(self.seed)
            side = self.size + 128
            fy, fx = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
            k = np.hypot(fx, fy)
            shape = np.sin(900.0 * k**2 + 0.1) * np.exp(-((k / 0.1) ** 2)) * (k < 0.25)
            image = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((side, side))) * shape, s=(side, side))
            self._kept["scene"] = image / image.std()
        return self._kept["scene"]

    def expected(self, frame: int) -> Floats:
        """Counts per pixel that a perfect detector would see on average."""
        y, x = np.mgrid[: self.size, : self.size].astype(np.float64)
        moved_x, moved_y = self.drift()[frame]
        local = self.local(frame, x - moved_x, y - moved_y)
        where = np.stack([y - moved_y - local[1] + 64.0, x - moved_x - local[0] + 64.0])
        seen = map_coordinates(self.scene(), where, order=3, mode="nearest")
        return self.rate * np.clip(1.0 + self.contrast * seen, 0.05, None)

    def movie(self, gain: Floats | None = None, hot: tuple[tuple[int, int], ...] = ()) -> NDArray[np.uint8]:
        """Poisson counts [frames, size, size] divided by a gain, with hot pixels (row, column) at 40 counts."""
        rng = np.random.default_rng(self.seed + 7)
        out = np.empty((self.frames, self.size, self.size), dtype=np.uint8)
        for frame in range(self.frames):
            mean = self.expected(frame)
            out[frame] = np.clip(rng.poisson(mean if gain is None else mean / gain), 0, 255)
            for row, column in hot:
                out[frame, row, column] = 40
        return out

    def residual_px(self, shifts: Floats, x: Floats, y: Floats) -> float:
        """Rms of what ``shifts`` [frames, 2, points] leave of the motion, each point's mean over frames removed."""
        true = np.stack([self.drift()[f][:, None] + self.local(f, x, y) for f in range(self.frames)])
        rest = shifts + true
        rest -= rest.mean(axis=0)
        return float(np.sqrt((rest**2).sum(axis=1).mean()))
