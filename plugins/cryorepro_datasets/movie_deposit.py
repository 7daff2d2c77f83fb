"""The real movies of an archive entry from a local copy: listed, errata applied, linked, with their gain reference.

The pixels are not touched here: which movies can be read, and whether they agree in frames and shape, is for motion
correction to find out and to record.
"""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import numpy as np
from pydantic import Field, ValidationError

from cryorepro.em.errors import InputError
from cryorepro.em.formats.star import make_block, write_star
from cryorepro.em.movies.table import MovieGroup, write_movie_table
from cryorepro.em.streams import random_stream
from cryorepro.model.base import Record
from cryorepro.model.dataset import AppliedErratum, DataRequest, DatasetInfo, PreparedData
from cryorepro.model.deposit import DatasetErratum

MOVIES, ORIGIN, LINKS = "movies.star", "origin_rows.star", "movies"
_USUAL_AMPLITUDE_CONTRAST = 0.1
_FOR_STAGES = ("flip-gain-y", "rotate-gain-270")


class MovieParameters(Record):
    """What a person may choose about real movies."""

    movies: int | None = Field(None, ge=1, description="of the subset; the entry's own number if not given")
    gain: Path | None = Field(None, description="the gain reference, if it is not one the entry names")


def prepare_movies(info: DatasetInfo, request: DataRequest) -> PreparedData:
    """Link the movies of a tier and write their table.

    Raises:
        InputError: there is no local copy, a parameter is out of range, the copy lacks what the entry's layout names,
            or the entry does not state the optics.
    """
    parameters = _parameters(info, request)
    root = _root(info, request)
    found = _matching(root, [] if info.layout is None else info.layout.movies)
    if not found:
        raise InputError(f"{root}: no file is like {_layout_text(info)}; {needed(info, request.tier)}")
    discarded = {name: each for each in info.errata if each.action == "discard-file" for name in each.files}
    applied = [_applied(discarded[path.name], path.name) for path in found if path.name in discarded]
    listed = [path for path in found if path.name not in discarded]
    rows = _chosen(info, request, parameters, listed)
    gain, cures = _gain(info, root, parameters)
    _write(info, request.directory, [listed[row] for row in rows], rows)
    files = {"movies": request.directory / MOVIES, "origin_rows": request.directory / ORIGIN}
    if gain is not None:
        files["gain"] = _linked(gain, request.directory / "gain" / gain.name)
    assert info.pixel_size_angstrom is not None and info.voltage_kv is not None  # _optics has checked
    return PreparedData(
        files=files,
        rows={"movies": len(rows)},
        pixel_size_angstrom=info.pixel_size_angstrom,
        voltage_kv=info.voltage_kv,
        errata=[*applied, *cures],
        origin=f"{len(rows)} of the {len(listed)} movies of {info.accession} in a local copy",
        parameters={"movies": len(rows)} | ({"seed": request.seed} if request.tier == "subset" else {}),
    )


def needed(info: DatasetInfo, tier: str) -> str:
    """The sentence that says what a person must have before the tier can be prepared."""
    declared = info.tier(tier)
    text = f" ({declared.needs})" if declared and declared.needs else ""
    return (
        f"{info.name}: tier '{tier}' needs a local copy of the movies, given with --data PATH{text}; to get it: "
        f"cryorepro fetch {info.name} --tier {tier}, or {'; '.join(info.download)}."
    )


def _parameters(info: DatasetInfo, request: DataRequest) -> MovieParameters:
    try:
        return MovieParameters.model_validate(request.parameters)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{info.name}: parameter {field}: {first['msg']}.") from error


def _root(info: DatasetInfo, request: DataRequest) -> Path:
    if request.local_path is None:
        raise InputError(needed(info, request.tier))
    if not request.local_path.is_dir():
        raise InputError(f"{request.local_path}: is not a directory; {needed(info, request.tier)}")
    return request.local_path


def _layout_text(info: DatasetInfo) -> str:
    return " or ".join(info.layout.movies) if info.layout and info.layout.movies else "any layout this version knows"


def _matching(root: Path, patterns: list[str]) -> list[Path]:
    """Files like a pattern of the archive entry, in its folders below ``root`` or straight in it, sorted by name."""
    found: dict[str, Path] = {}
    for pattern in patterns:
        parts = PurePosixPath(pattern).parts
        for start in range(len(parts)):
            folder = root.joinpath(*parts[start:-1])
            hits = [path for path in folder.iterdir() if fnmatch(path.name, parts[-1])] if folder.is_dir() else []
            if hits:
                found |= {path.name: path for path in hits if path.is_file()}
                break
    return [found[name] for name in sorted(found)]


def _chosen(info: DatasetInfo, request: DataRequest, parameters: MovieParameters, listed: list[Path]) -> list[int]:
    """Rows of the list that the tier takes; a subset is drawn as ``cryorepro fetch`` draws it."""
    if request.tier == "full":
        return list(range(len(listed)))
    assert info.layout is not None  # movies were found by it
    count = parameters.movies or info.layout.subset_movies
    if count == len(listed):  # a subset that was fetched before
        return list(range(count))
    if count > len(listed):
        raise InputError(f"{info.name}: parameter movies: {count} exceeds the {len(listed)} that are there.")
    return sorted(random_stream(request.seed, "subset").choice(len(listed), size=count, replace=False).tolist())


def _gain(info: DatasetInfo, root: Path, parameters: MovieParameters) -> tuple[Path | None, list[AppliedErratum]]:
    """The gain reference, and the errata about it; the stage that reads the gain turns it."""
    patterns = [] if info.layout is None else info.layout.gain
    named = {name: each for each in info.errata if each.action in _FOR_STAGES for name in each.files}
    gain: Path | None
    if parameters.gain is not None:
        gain = parameters.gain
        if not gain.is_file():
            raise InputError(f"{info.name}: parameter gain: {gain} does not exist.")
    else:
        there = _matching(root, patterns)
        preferred = [path for path in there if path.name in named] or there
        if patterns and not preferred:
            listed = ", ".join(patterns)
            raise InputError(f"{root}: holds none of the gain references {listed}; name one: --set data.gain=PATH.")
        gain = preferred[0] if preferred else None
    cures = [_applied(each, name) for name, each in named.items() if gain is not None and gain.stem == Path(name).stem]
    return gain, cures


def _applied(erratum: DatasetErratum, name: str) -> AppliedErratum:
    return AppliedErratum(id=erratum.id, file=name, evidence=erratum.evidence, action=erratum.action)


def _optics(info: DatasetInfo) -> MovieGroup:
    values = {
        "voltage_kv": info.voltage_kv,
        "spherical_aberration_mm": info.spherical_aberration_mm,
        "pixel_size_angstrom": info.pixel_size_angstrom,
    }
    unknown = [name for name, value in values.items() if value is None]
    if unknown:
        raise InputError(f"{info.name}: {unknown[0]} is not known from any source, so its movies cannot be prepared.")
    contrast = info.amplitude_contrast
    known = {name: value for name, value in values.items() if value is not None}
    return MovieGroup(amplitude_contrast=_USUAL_AMPLITUDE_CONTRAST if contrast is None else contrast, **known)


def _write(info: DatasetInfo, directory: Path, movies: list[Path], rows: list[int]) -> None:
    group = _optics(info)
    names = [f"{LINKS}/{path.name}" for path in movies]
    for name, path in zip(names, movies, strict=True):
        _linked(path, directory / name)
    write_movie_table(directory / MOVIES, names, group)
    origin = {"cryoreproDepositRow": (np.array(rows) + 1).tolist(), "rlnMicrographMovieName": names}
    write_star(directory / ORIGIN, [make_block("origin", origin)])


def _linked(source: Path, link: Path) -> Path:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(source.resolve())
    return link
