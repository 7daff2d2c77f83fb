"""Twins of movies: simulated, written as the deposit's files are, their truth apart.

A dataset gives a recipe (its optics, its particle, the names and the format of its files); everything else is one
simulation for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.movie_twin.detector import Counts, Detector, make_detector
from cryorepro.em.movie_twin.dose import frame_exposures
from cryorepro.em.movie_twin.frames import Exposure, Scene, expose_movie
from cryorepro.em.movie_twin.ice import dirt_contrast, ice_contrast
from cryorepro.em.movie_twin.layout import place_dirt, place_particles
from cryorepro.em.movie_twin.motion import draw_motion
from cryorepro.em.movie_twin.optics import Microscope, draw_defocus, frequencies
from cryorepro.em.movie_twin.specimen import Specimen, Views
from cryorepro.em.movies.table import MovieGroup
from cryorepro.em.streams import random_stream
from cryorepro.model.dataset import DataRequest, PreparedData
from cryorepro_datasets.movie_twin_files import write_inputs, write_movie
from cryorepro_datasets.movie_twin_parameters import MovieTwinParameters
from cryorepro_datasets.movie_twin_truth import MovieTruth, write_truth

Floats = NDArray[np.float64]
_DIRT_ANGSTROM, _DIRT_DEPTH = (70.0, 180.0), 0.45
_MOST_HOT_COUNTS = 110


@dataclass(frozen=True)
class Recipe:
    """What one dataset brings.

    Attributes:
        name: Of the dataset.
        voltage_kv, spherical_aberration_mm, amplitude_contrast: Of its microscope.
        symmetry: Of its particle, about the axes of the truth.
        movie_name: The name of the movie of a number from 1.
        odd_names: Names of movies of another shape.
        gain_name: Of the gain reference, which is to be turned upside down.
        specimen: Builds the particle from a request; with a sentence that says what it is.
    """

    name: str
    voltage_kv: float
    spherical_aberration_mm: float
    amplitude_contrast: float
    symmetry: str
    movie_name: Callable[[int], str]
    odd_names: Sequence[str]
    gain_name: str
    specimen: Callable[[DataRequest, MovieTwinParameters], tuple[Specimen, str]]

    def optics(self, parameters: MovieTwinParameters) -> MovieGroup:
        """What the list of movies states."""
        return MovieGroup(
            self.voltage_kv, self.spherical_aberration_mm, self.amplitude_contrast, parameters.pixel_size_angstrom
        )


def prepare_movie_twin(request: DataRequest, recipe: Recipe, parameters: MovieTwinParameters) -> PreparedData:
    """Simulate the movies below ``request.directory`` and their truth below ``request.truth_directory``.

    Raises:
        InputError: the particles asked for do not fit, or the model cannot be read.
    """
    specimen, sentence = recipe.specimen(request, parameters)
    (request.directory / "movies").mkdir(parents=True, exist_ok=True)
    request.truth_directory.mkdir(parents=True, exist_ok=True)
    detector = make_detector(
        random_stream(request.seed, "detector"), parameters.shape, parameters.gain_roughness, parameters.hot_pixels,
        parameters.defects, _MOST_HOT_COUNTS,
    )  # fmt: skip
    studio = Studio(request.seed, recipe, parameters, Views(specimen), max(1, len(specimen.belts)), detector)
    truths = []
    for number in range(1, parameters.movies + 1):
        counts, truth = studio.movie(number)
        write_movie(request.directory / "movies" / recipe.movie_name(number), counts, parameters.pixel_size_angstrom)
        truths.append(truth)
    odd = list(recipe.odd_names[: parameters.odd_movies])
    for number, name in enumerate(odd):
        path = request.directory / "movies" / name
        write_movie(path, studio.odd_movie(name, number), parameters.pixel_size_angstrom)
    names = [truth.movie for truth in truths] + odd
    files = write_inputs(request.directory, recipe.optics(parameters), recipe.gain_name, parameters, detector, names)
    write_truth(request.truth_directory, specimen, truths)
    particles = sum(len(truth.positions_px) for truth in truths)
    return PreparedData(
        files=files,
        rows={"movies": parameters.movies + len(odd)},
        box_px=parameters.box_px,
        pixel_size_angstrom=parameters.pixel_size_angstrom,
        voltage_kv=recipe.voltage_kv,
        origin=f"simulated from seed {request.seed}: {len(truths)} movies of {particles} particles; {sentence}",
        parameters={**parameters.recorded(), "seed": request.seed, "symmetry": recipe.symmetry},
        has_truth=True,
    )


class Studio:
    """Makes the movies of one twin, each from random streams of its own."""

    def __init__(
        self,
        seed: int,
        recipe: Recipe,
        parameters: MovieTwinParameters,
        views: Views,
        belts: int,
        detector: Detector,
    ) -> None:
        self._seed, self._recipe, self._parameters = seed, recipe, parameters
        self._views, self._belts, self._detector = views, belts, detector
        self._microscope = Microscope(
            recipe.voltage_kv, recipe.spherical_aberration_mm, recipe.amplitude_contrast,
            parameters.envelope_bfactor_angstrom2,
        )  # fmt: skip
        self._defocus = draw_defocus(
            random_stream(seed, "defocus"), parameters.movies, parameters.defocus_range(), parameters.shape
        )
        self._exposure = Exposure(
            frame_exposures(parameters.total_dose_e_per_square_angstrom, parameters.frames),
            parameters.electrons_per_pixel, parameters.pixel_size_angstrom, parameters.contrast_gain,
        )  # fmt: skip
        self._at = frequencies(parameters.shape, parameters.pixel_size_angstrom)

    def movie(self, number: int) -> tuple[Counts, MovieTruth]:
        """Counts of movie ``number`` (from 1), and the truth about it."""
        p, defocus = self._parameters, self._defocus[number - 1]
        pixel = p.pixel_size_angstrom
        stream = self._stream(number, "layout")
        dirt = place_dirt(stream, p.shape, p.dirt_per_movie, (_DIRT_ANGSTROM[0] / pixel, _DIRT_ANGSTROM[1] / pixel))
        distance = p.nearest_share * p.particle_diameter_angstrom / pixel
        positions = place_particles(stream, p.shape, p.particles_per_movie, distance, dirt)
        angles, heights, belts = self._draw_particles(number, len(positions))
        motion = draw_motion(self._stream(number, "motion"), self._exposure.exposures, p.shape, p.motion(), pixel)
        background = ice_contrast(self._stream(number, "ice"), p.ice(), defocus, self._microscope, self._at)
        background += dirt_contrast(self._stream(number, "dirt"), dirt, p.shape, _DIRT_DEPTH)
        scene = Scene(positions, self._views.project(angles, belts), heights, background)
        counts = expose_movie(
            scene, defocus, motion, self._microscope, self._exposure, self._detector, self._stream(number, "counts")
        )
        name = self._recipe.movie_name(number)
        return counts, MovieTruth(name, defocus, motion, positions, heights, angles, belts, dirt)

    def odd_movie(self, name: str, number: int) -> Counts:
        """A movie of ice alone, with other sides than the rest and half the frames."""
        rows, columns = self._parameters.shape
        shape = (rows // 2, columns) if number % 2 == 0 else (rows, columns // 2)
        frames = max(2, self._parameters.frames // 2)
        stream = random_stream(self._seed, f"odd/{name}")
        counts = np.minimum(stream.poisson(self._parameters.electrons_per_pixel, (frames, *shape)), 127)
        return counts.astype(np.uint8)

    def _draw_particles(self, number: int, count: int) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """Angles [n, 3] in degrees, heights [n] in Angstrom and belts [n]; rounded as the truth is written."""
        turn = self._stream(number, "orientations").random((count, 3))
        tilt = np.rad2deg(np.arccos(1.0 - 2.0 * turn[:, 1]))
        angles = np.stack([360.0 * turn[:, 0] - 180.0, tilt, 360.0 * turn[:, 2] - 180.0], axis=1)
        limit = self._parameters.ice_height_angstrom
        heights = self._stream(number, "heights").uniform(-limit, limit, count)
        belts = self._stream(number, "belts").integers(0, self._belts, count)
        return np.round(angles, 4), np.round(heights, 1), belts

    def _stream(self, number: int, what: str) -> np.random.Generator:
        return random_stream(self._seed, f"movie-{number}/{what}")
