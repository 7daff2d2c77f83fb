"""The micrographs of EMPIAR-10146: frame sums as MRC with their optics, people's labels beside them, and a start.

The labels are positions that a person marked. They are no truth kept apart from the run: they are there to measure by.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from cryorepro.em.atomic import model_density, read_model
from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import write_map, write_stack
from cryorepro.em.formats.star import make_block, write_star
from cryorepro.em.maskcreate import create_mask
from cryorepro.em.model_symmetry import orient_to_symmetry
from cryorepro.em.picking.picks import Picks
from cryorepro.em.picking.tables import AUTOPICK, write_picks
from cryorepro.model.dataset import DataRequest, PreparedData
from cryorepro_datasets.empiar_10146 import (
    AMPLITUDE_CONTRAST,
    BOX_PX,
    DIAMETER_ANGSTROM,
    LABELS_NAME,
    MICROGRAPH_PIXEL_SIZE_ANGSTROM,
    MICROGRAPHS_FOLDER,
    MODEL_NAME,
    PIXEL_SIZE_ANGSTROM,
    SPHERICAL_ABERRATION_MM,
    SYMMETRY,
    VOLTAGE_KV,
)

_SHAPE = (1200, 1240)
_MOST_BYTES = 64 * 1024**2
_MASK_LOWPASS_ANGSTROM, _MASK_LEVEL, _MASK_EXTEND_PX, _MASK_EDGE_PX = 20.0, 0.1, 2.0, 5.0
_ENDING = ".bin_avg.png"


def prepare_micrographs(request: DataRequest, model_path: Path, reference_low_pass_angstrom: float) -> PreparedData:
    """Write micrographs, labels, a reference and a mask; see :class:`~cryorepro_datasets.empiar_10146.Empiar10146`.

    Raises:
        InputError: the folder holds no micrographs, or one is not what the data set declares.
    """
    assert request.local_path is not None
    pictures = sorted((request.local_path / MICROGRAPHS_FOLDER).glob(f"*{_ENDING}"))
    if not pictures:
        raise InputError(f"{request.local_path}: holds no {MICROGRAPHS_FOLDER}/*{_ENDING}.")
    directory = request.directory
    (directory / "micrographs").mkdir(parents=True, exist_ok=True)
    names = []
    for picture in pictures:
        names.append(f"micrographs/{picture.name.removesuffix(_ENDING)}.mrc")
        write_stack(directory / names[-1], _read(picture)[None], MICROGRAPH_PIXEL_SIZE_ANGSTROM)
    files = {"micrographs": directory / "micrographs.star", "model": directory / MODEL_NAME}
    _write_table(files["micrographs"], names)
    files["labels"] = _write_labels(directory, request.local_path / LABELS_NAME, names)
    shutil.copyfile(model_path, files["model"])
    files |= _write_start(directory, model_path, reference_low_pass_angstrom)
    return PreparedData(
        files=files,
        rows={"micrographs": len(names)},
        pixel_size_angstrom=MICROGRAPH_PIXEL_SIZE_ANGSTROM,
        voltage_kv=VOLTAGE_KV,
        origin=f"{len(names)} real micrographs of EMPIAR-10146 with people's labels; reference from PDB 4V1W",
        parameters={"symmetry": SYMMETRY, "particle_diameter_angstrom": DIAMETER_ANGSTROM},
    )


def _read(path: Path) -> NDArray[np.float32]:
    """A 16-bit grey picture as it is, row 0 first."""
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(f"{path}: larger than a micrograph of this data set is ({_MOST_BYTES} bytes).")
    try:
        image = imagecodecs.png_decode(path.read_bytes())
    except (imagecodecs.PngError, ValueError) as error:
        raise InputError(f"{path}: not a readable PNG ({error}).") from error
    if image.shape != _SHAPE or image.dtype != np.uint16:
        raise InputError(f"{path}: {image.dtype} {image.shape}, but EMPIAR-10146 is declared with uint16 {_SHAPE}.")
    return np.asarray(image, dtype=np.float32)


def _write_table(star: Path, names: list[str]) -> None:
    optics: dict[str, list[str | int | float]] = {
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnOpticsGroup": [1],
        "rlnMicrographPixelSize": [MICROGRAPH_PIXEL_SIZE_ANGSTROM],
        "rlnVoltage": [VOLTAGE_KV],
        "rlnSphericalAberration": [SPHERICAL_ABERRATION_MM],
        "rlnAmplitudeContrast": [AMPLITUDE_CONTRAST],
    }
    rows: dict[str, list[str | int | float]] = {"rlnMicrographName": [*names], "rlnOpticsGroup": [1] * len(names)}
    write_star(star, [make_block("optics", optics), make_block("micrographs", rows)])


def _write_labels(directory: Path, source: Path, names: list[str]) -> Path:
    """What people marked, in the form of picks; micrographs without labels are not listed."""
    places: dict[str, list[tuple[float, float]]] = {}
    try:
        with source.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                name = f"micrographs/{row['micrograph'].removesuffix(_ENDING)}.mrc"
                places.setdefault(name, []).append((float(row["x_px"]), float(row["y_px"])))
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{source}: no table of labels with micrograph, x_px and y_px ({error}).") from error
    labelled = [name for name in names if name in places]
    folder = directory / "labels"
    folder.mkdir(exist_ok=True)
    write_picks(folder, labelled, [_as_picks(places[name]) for name in labelled], {})
    return folder / AUTOPICK


def _as_picks(places: list[tuple[float, float]]) -> Picks:
    unknown = np.full(len(places), np.nan)
    return Picks(np.array(places), unknown, unknown, unknown, np.zeros(len(places), dtype=np.int64), unknown)


def _write_start(directory: Path, model_path: Path, lowpass_angstrom: float) -> dict[str, Path]:
    """Reference and mask in the box the particles are cropped to. The reference's grey scale is the model's own."""
    model = orient_to_symmetry(read_model(model_path), SYMMETRY)
    reference = model_density(model, BOX_PX, PIXEL_SIZE_ANGSTROM, lowpass_angstrom=lowpass_angstrom)
    smooth = model_density(model, BOX_PX, PIXEL_SIZE_ANGSTROM, lowpass_angstrom=_MASK_LOWPASS_ANGSTROM)
    level = _MASK_LEVEL * float(smooth.max())
    mask = create_mask(smooth, PIXEL_SIZE_ANGSTROM, level, extend_px=_MASK_EXTEND_PX, soft_edge_px=_MASK_EDGE_PX)
    paths = {"reference": directory / "reference.mrc", "mask": directory / "mask.mrc"}
    write_map(paths["reference"], reference, PIXEL_SIZE_ANGSTROM)
    write_map(paths["mask"], mask, PIXEL_SIZE_ANGSTROM)
    return paths
