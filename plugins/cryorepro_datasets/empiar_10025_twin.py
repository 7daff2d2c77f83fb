"""The twin of EMPIAR-10025: a procedural barrel with D7 and the proteasome's size, in MRC movies."""

from __future__ import annotations

from cryorepro.em.movie_twin.shapes import proteasome
from cryorepro.em.movie_twin.specimen import Specimen, build_specimen
from cryorepro.em.streams import random_stream
from cryorepro.model.dataset import DataRequest, PreparedData
from cryorepro_datasets.entry_file import load_entry
from cryorepro_datasets.movie_twin import Recipe, prepare_movie_twin
from cryorepro_datasets.movie_twin_parameters import (
    BarrelTwinParameters,
    MovieTwinParameters,
    movie_twin_parameters,
)

NAME = "empiar-10025"


def prepare(request: DataRequest) -> PreparedData:
    """Simulate the twin.

    Raises:
        InputError: a parameter is unknown or out of range.
    """
    parameters = movie_twin_parameters(NAME, BarrelTwinParameters, request.parameters)
    entry = load_entry(NAME)
    assert entry.voltage_kv is not None and entry.spherical_aberration_mm is not None
    assert entry.amplitude_contrast is not None
    recipe = Recipe(
        name=NAME,
        voltage_kv=entry.voltage_kv,
        spherical_aberration_mm=entry.spherical_aberration_mm,
        amplitude_contrast=entry.amplitude_contrast,
        symmetry="D7",
        movie_name=lambda number: f"14sep05c_twin_{number:05d}.frames.mrc",
        odd_names=(),
        gain_name="norm-amibox05-0.mrc",
        specimen=_specimen,
    )
    return prepare_movie_twin(request, recipe, parameters)


def _specimen(request: DataRequest, parameters: MovieTwinParameters) -> tuple[Specimen, str]:
    model = proteasome(request.seed)
    stream = random_stream(request.seed, "specimen")
    specimen = build_specimen(model, parameters.model_box_px, parameters.pixel_size_angstrom, stream)
    return specimen, "a procedural polymer in the shape of the proteasome"
