"""The table of a selection of movies, as RELION 3.1 and later import them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryorepro.em.formats.star import make_block, write_star
from cryorepro.model.dataset import DatasetInfo
from cryorepro.workflow.fetch.cache import DEPOSIT

MOVIES, ORIGIN = "movies.star", "origin_rows.star"
_OPTICS = {
    "rlnVoltage": "voltage_kv",
    "rlnSphericalAberration": "spherical_aberration_mm",
    "rlnAmplitudeContrast": "amplitude_contrast",
}


def write_movie_tables(folder: Path, info: DatasetInfo, movies: dict[str, int]) -> list[str]:
    """Write ``movies.star`` and ``origin_rows.star``; returns the optics labels left out because nobody states them.

    Names are relative to the dataset's folder in the cache, which serves as the RELION project.

    Args:
        folder: Where to write.
        info: For the optics.
        movies: Paths in the deposit with their 1-based row of the sorted list of the archive.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = {label: getattr(info, field) for label, field in _OPTICS.items()}
    known["rlnMicrographOriginalPixelSize"] = info.pixel_size_angstrom
    optics: dict[str, Any] = {"rlnOpticsGroupName": ["opticsGroup1"], "rlnOpticsGroup": [1]}
    stated = {label: [value] for label, value in known.items() if value is not None}
    names = [f"{DEPOSIT}/{path}" for path in movies]
    kind = "movies" if info.layout is not None and info.layout.movies else "micrographs"
    label = "rlnMicrographMovieName" if kind == "movies" else "rlnMicrographName"
    table: dict[str, Any] = {label: names, "rlnOpticsGroup": [1] * len(names)}
    write_star(folder / MOVIES, [make_block("optics", {**optics, **stated}), make_block(kind, table)])
    origin: dict[str, Any] = {"cryoreproDepositRow": list(movies.values()), label: names}
    write_star(folder / ORIGIN, [make_block("origin", origin)])
    return sorted(set(known) - set(stated))
