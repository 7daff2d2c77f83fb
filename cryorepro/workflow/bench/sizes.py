"""How much work each test does. Records of different sizes are different workloads and are not compared."""

from __future__ import annotations

from pydantic import Field

from cryorepro.em.errors import InputError
from cryorepro.model.base import Record


class Sizes(Record):
    """Sizes of files, images and problems."""

    movies: int = Field(ge=1)
    movie_frames: int = Field(ge=1)
    movie_px: int = Field(ge=64)
    eer_frames: int = Field(ge=1)
    particles: int = Field(ge=10)
    particle_files: int = Field(ge=1)
    particle_box_px: int = Field(ge=16)
    gemm: int = Field(ge=64)
    fft_box_px: int = Field(ge=16)
    fsc_box_px: int = Field(ge=32)
    engine_box_px: int = Field(ge=16)
    engine_particles: int = Field(ge=2)
    engine_orientations: int = Field(ge=10)
    calibration_seconds: float = Field(ge=0)

    @property
    def particle_bytes(self) -> int:
        """Bytes of all particle images, 32-bit."""
        return self.particles * self.particle_box_px**2 * 4


SIZES: dict[str, Sizes] = {
    "tiny": Sizes(
        movies=1, movie_frames=2, movie_px=128, eer_frames=3, particles=40, particle_files=4, particle_box_px=32,
        gemm=128, fft_box_px=32, fsc_box_px=32, engine_box_px=32, engine_particles=32, engine_orientations=50,
        calibration_seconds=0.5,
    ),
    "default": Sizes(
        movies=3, movie_frames=8, movie_px=2048, eer_frames=20, particles=1000, particle_files=10, particle_box_px=256,
        gemm=1536, fft_box_px=160, fsc_box_px=128, engine_box_px=96, engine_particles=256, engine_orientations=100,
        calibration_seconds=20.0,
    ),
    "published": Sizes(
        movies=3, movie_frames=44, movie_px=4096, eer_frames=48, particles=50_000, particle_files=500,
        particle_box_px=256, gemm=8192, fft_box_px=512, fsc_box_px=512, engine_box_px=256, engine_particles=2000,
        engine_orientations=20_000, calibration_seconds=20.0,
    ),
}  # fmt: skip
"""``published`` reads what CryoSPARC's benchmark reads: 50,000 particles of 256 x 256 in 500 files, 13.1 GB.

Its package has three movies of each kind: TIFF of 70 frames of 11520 x 8184, MRC of 44 of 3710 x 3838, EER of 48 of
4096 x 4096. Ours are 4096 x 4096 throughout.
"""


def sizes_named(name: str) -> Sizes:
    """One of the sizes.

    Raises:
        InputError: no such name.
    """
    if name not in SIZES:
        raise InputError(f"--size {name}: the sizes are {', '.join(SIZES)}")
    return SIZES[name]
