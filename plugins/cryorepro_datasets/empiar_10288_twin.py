"""The twin of EMPIAR-10288: a receptor with its G protein in a belt of detergent, in TIFF movies."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cryorepro.em.atomic import AtomicModel, read_model
from cryorepro.em.errors import InputError
from cryorepro.em.movie_twin.micelle import find_membrane
from cryorepro.em.movie_twin.shapes import receptor_complex
from cryorepro.em.movie_twin.specimen import Specimen, build_specimen
from cryorepro.em.streams import random_stream
from cryorepro.model.dataset import DataRequest, PreparedData
from cryorepro_datasets.entry_file import load_entry
from cryorepro_datasets.movie_twin import Recipe, prepare_movie_twin
from cryorepro_datasets.movie_twin_parameters import (
    MovieTwinParameters,
    ReceptorTwinParameters,
    movie_twin_parameters,
)

NAME, RECEPTOR_CHAIN = "empiar-10288", "R"
MODEL_NAMES = ("6n4b.pdb", "6n4b.cif", "6N4B.pdb", "6N4B.cif", "6n4b.pdb.gz", "6n4b.cif.gz")
_AMPLITUDE_CONTRAST = 0.1  # usual; no source of the deposit states one


def prepare(request: DataRequest) -> PreparedData:
    """Simulate the twin.

    Raises:
        InputError: a parameter is unknown or out of range, or the model that was named cannot be used.
    """
    parameters = movie_twin_parameters(NAME, ReceptorTwinParameters, request.parameters)
    entry = load_entry(NAME)
    odd = next(erratum.files for erratum in entry.errata if erratum.action == "discard-file")
    assert entry.voltage_kv is not None and entry.spherical_aberration_mm is not None
    recipe = Recipe(
        name=NAME,
        voltage_kv=entry.voltage_kv,
        spherical_aberration_mm=entry.spherical_aberration_mm,
        amplitude_contrast=_AMPLITUDE_CONTRAST,
        symmetry="C1",
        movie_name=lambda number: f"CB1__{number:05d}_twin.tif",
        odd_names=odd,
        gain_name="CountRef_CB1_twin.mrc",
        specimen=_specimen,
    )
    return prepare_movie_twin(request, recipe, parameters)


def _specimen(request: DataRequest, parameters: MovieTwinParameters) -> tuple[Specimen, str]:
    assert isinstance(parameters, ReceptorTwinParameters)
    model, sentence = _model(request, parameters)
    if parameters.belts:  # the origin is the middle of what a picker sees: half way from protein to belt
        model = model.moved(np.eye(3), -0.5 * find_membrane(model, RECEPTOR_CHAIN).centre)
    membrane = find_membrane(model, RECEPTOR_CHAIN)
    stream = random_stream(request.seed, "belts")
    specimen = build_specimen(
        model, parameters.model_box_px, parameters.pixel_size_angstrom, stream, parameters.belt(), membrane,
        parameters.belts,
    )  # fmt: skip
    return specimen, f"{sentence}, in {parameters.belts} variants of a detergent belt"


def _model(request: DataRequest, parameters: ReceptorTwinParameters) -> tuple[AtomicModel, str]:
    path = parameters.model or _find(request.local_path)
    if path is None:
        return receptor_complex(request.seed).centred(), "a procedural polymer in the shape of the complex"
    model = read_model(path, assembly=False).centred()
    if RECEPTOR_CHAIN not in model.traces:
        raise InputError(f"{path}: has no chain {RECEPTOR_CHAIN}, so it is not PDB 6N4B, the model of {NAME}")
    return model, f"the model PDB 6N4B ({path.name})"


def _find(given: Path | None) -> Path | None:
    """The model where a person pointed: the file itself, in the folder, beside it, or in ``models`` of either."""
    if given is None:
        return None
    if given.is_file():
        return given
    folder = given.resolve()
    places = (folder, folder / "models", folder.parent, folder.parent / "models")
    found = next((place / name for place in places for name in MODEL_NAMES if (place / name).is_file()), None)
    if found is None:
        raise InputError(f"{given}: holds no model of PDB 6N4B ({MODEL_NAMES[0]}); without --data a phantom is used")
    return found
