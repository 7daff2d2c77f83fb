"""A copy of the archives' addresses in a folder: what is asked of ``ftp.ebi.ac.uk`` and others is served from it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.workflow.fetch.server import make_file

EMPIAR, EMDB = "empiar/world_availability", "pub/databases/emdb/structures"
HOSTS = ("https://ftp.ebi.ac.uk/", "https://www.ebi.ac.uk/", "https://files.rcsb.org/")


def mirrors(url: str) -> tuple[tuple[str, str], ...]:
    """Every archive address leads to the server at `url`; FTP to a port where nobody listens."""
    return (*((host, url) for host in HOSTS), ("ftp://ftp.ebi.ac.uk/", "ftp://127.0.0.1:9/"))


def mirror_variable(url: str) -> str:
    """The same as ``CRYOREPRO_MIRROR`` takes it."""
    return " ".join(f"{prefix}={place}" for prefix, place in mirrors(url))


def entry_10288(root: Path, movies: int = 12, movie_bytes: int = 20_000) -> list[str]:
    """The CB1 entry in small: movies, gains, the odd movies of its erratum, a file that is no movie."""
    data = root / EMPIAR / "10288" / "data"
    names = [f"CB1__{i:05d}_Feb18_23.{i:02d}.00.tif" for i in range(6, 6 + movies)]
    odd = ["CB1__00004_Feb18_23.33.18.tif", "CB1__00005_Feb18_23.34.19.tif", "CB1__00724_Feb19_12.00.25.tif"]
    gains = ["CountRef_CB1__00000_Feb18_23.26.46.dm4", "CountRef_CB1__00826_Feb19_14.19.25.dm4"]
    for seed, name in enumerate([*names, *odd, *gains, "notes.txt"]):
        make_file(data / name, (movie_bytes if name in names else 20_000) + seed, seed)
    (root / EMPIAR / "10288" / "10288.xml").write_text('<?xml version="1.0"?>\n<entry accessionCode="EMPIAR-10288"/>\n')
    return names


def emdb_0339(root: Path) -> None:
    """Map, half maps and FSC curve of the CB1 complex, EMDB's record of it, and its model."""
    tree = root / EMDB / "EMD-0339"
    for name in ("map/emd_0339.map.gz", "other/emd_0339_half_map_1.map.gz", "other/emd_0339_half_map_2.map.gz"):
        make_file(tree / name, 5_000, len(name))
    (tree / "fsc").mkdir()
    (tree / "fsc" / "emd_0339_fsc.xml").write_text("<fsc><coordinate><x>0</x><y>1</y></coordinate></fsc>")
    halves = [{"file": f"emd_0339_half_map_{n}.map.gz", "format": "CCP4"} for n in (1, 2)]
    record = {"emdb_id": "EMD-0339", "interpretation": {"half_map_list": {"half_map": halves}}}
    _api(root / "emdb/api/entry/EMD-0339", json.dumps(record))
    _api(root / "download/6N4B.cif", "data_6N4B\n")


def empiar_api_10288(root: Path) -> None:
    """EMPIAR's record of the entry, with a field nobody has heard of."""
    images = {"name": "movies", "directory": "data", "num_images_or_tilt_series": 2756, "pixel_width": "0.86", "x": 1}
    record = {"EMPIAR-10288": {"title": "CB1", "imagesets": [images], "cross_references": [{"name": "EMD-0339"}]}}
    _api(root / "empiar/api/entry/10288/index.json", json.dumps(record))


def _api(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
