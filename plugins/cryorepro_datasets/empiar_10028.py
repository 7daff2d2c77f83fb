"""EMPIAR-10028: the Plasmodium falciparum 80S ribosome, RELION's standard benchmark. Imports no numerics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cryorepro.em.errors import InputError
from cryorepro.model.dataset import DataRequest, PreparedData, TierInfo
from cryorepro.plugins.interfaces import Archive
from cryorepro.plugins.types import Dataset
from cryorepro_datasets.entry_file import load_entry

ROWS, BOX_PX, PIXEL_SIZE_ANGSTROM, VOLTAGE_KV = 105_247, 360, 1.34, 300.0
STAR_PATH = "data/Particles/shiny_2sets.star"
BASE_URL = "https://ftp.ebi.ac.uk/empiar/world_availability/10028/"
MAP_URL = "https://ftp.ebi.ac.uk/pub/databases/emdb/structures/EMD-2660/map/emd_2660.map.gz"
FULL_BYTES = 1024 + ROWS * BOX_PX**2 * 4

INFO = load_entry(
    "empiar-10028",
    download=[
        f"wget -r -np -nH --cut-dirs=2 {BASE_URL}data/Particles/",
        f"wget {MAP_URL}",
    ],
    tiers=[
        TierInfo(
            tier="twin",
            summary="simulated: a ribosome-like particle in three conformers, with the deposit's own defocus",
            particles=1500,
            box_px=64,
            pixel_size_angstrom=7.54,
            size_bytes=1024 + 1500 * 64**2 * 4,
            needs="nothing to download; a few minutes on two CPU cores",
        ),
        TierInfo(
            tier="subset",
            summary="a seeded selection of the real particles, from a local deposit or read from the archive by ranges",
            particles=2000,
            box_px=BOX_PX,
            pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
            size_bytes=1024 + 2000 * BOX_PX**2 * 4,
            needs="a network or a local copy of the particles (55 GB), and 2.2 GB of disk",
        ),
        TierInfo(
            tier="full",
            summary="all 105,247 particles of the deposit",
            particles=ROWS,
            box_px=BOX_PX,
            pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
            size_bytes=FULL_BYTES,
            needs="the particles (55 GB) on disk, as much scratch, one GPU with 22 GB, some 3.3 hours",
        ),
    ],
)

DATASET = Dataset(
    INFO.name,
    "Plasmodium 80S ribosome: RELION's standard Class3D benchmark",
    "cryorepro_datasets.empiar_10028:Empiar10028",
    info=INFO,
)


class Empiar10028:
    """Prepares the tiers of EMPIAR-10028."""

    def prepare(self, request: DataRequest) -> PreparedData:
        """Simulate the twin, or check and link a local copy of the deposit.

        Raises:
            InputError: A parameter is not known, or the local copy is missing or not what the deposit is.
        """
        if request.tier == "twin":
            from cryorepro_datasets.twin import prepare_twin

            return prepare_twin(request)
        if request.local_path is None:
            raise InputError(needed(request.tier))
        from cryorepro_datasets.deposit import prepare_full, prepare_subset

        return prepare_full(request) if request.tier == "full" else prepare_subset(request)

    def prepare_remote(self, request: DataRequest, archive: Archive) -> PreparedData:
        """Read a selection of the particles from the archive; tier ``full`` only once it was fetched.

        Raises:
            InputError: The archive cannot be read, or the deposit was not fetched; says what is needed.
        """
        if request.tier == "full":
            copy = archive.local_copy()
            if copy is None:
                raise InputError(f"{needed('full')[:-1]}, or: cryorepro fetch {INFO.name} --tier full.")
            parameters = dict(request.parameters)
            if parameters.get("reference") is None:
                parameters["reference"] = archive.emdb_map(INFO.emdb[0])
            return self.prepare(request.model_copy(update={"local_path": copy, "parameters": parameters}))
        from cryorepro_datasets.remote_subset import prepare_remote_subset

        return prepare_remote_subset(request, archive)

    def truth(self, request: DataRequest) -> Mapping[str, Path]:
        """Truth of the twin by role: `particles` (poses, classes, shifts), `class001` … (maps)."""
        if request.tier != "twin":
            return {}
        from cryorepro_datasets.twin import truth_files

        return truth_files(request.truth_directory)


def needed(tier: str) -> str:
    """The sentence that says what a person must have before the tier can be prepared."""
    return (
        f"empiar-10028: tier '{tier}' needs a local copy of the deposit, given with --data PATH: "
        f"{STAR_PATH} with its stacks ({FULL_BYTES / 1e9:.1f} GB) and emd_2660.map; "
        f"to download them: {'; '.join(INFO.download)}."
    )
