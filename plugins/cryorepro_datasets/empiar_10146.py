"""EMPIAR-10146: apoferritin, a small set of real particles with octahedral symmetry. Imports no numerics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cryorepro.em.errors import InputError
from cryorepro.model.dataset import DataRequest, DatasetInfo, PreparedData, TierInfo
from cryorepro.plugins.types import Dataset

ROWS, BOX_PX, PIXEL_SIZE_ANGSTROM, VOLTAGE_KV = 2387, 64, 3.0, 300.0
STAR_NAME = "particles_64px_3.0A.star"
MICROGRAPHS_FOLDER, LABELS_NAME = "micrographs_avg", "human_labels.csv"
MICROGRAPH_PIXEL_SIZE_ANGSTROM = 1.5
MODEL_NAME = "4v1w.cif"
MODEL_URL = "https://files.rcsb.org/download/4V1W.cif"
SYMMETRY = "O"
DIAMETER_ANGSTROM = 140.0
SPHERICAL_ABERRATION_MM, AMPLITUDE_CONTRAST = 2.7, 0.07
TWIN_PARTICLES = 600

INFO = DatasetInfo(
    name="empiar-10146",
    accession="EMPIAR-10146",
    title="Apoferritin, a tutorial data set",
    sample="human apoferritin, 24 subunits",
    voltage_kv=VOLTAGE_KV,
    spherical_aberration_mm=SPHERICAL_ABERRATION_MM,
    amplitude_contrast=AMPLITUDE_CONTRAST,
    symmetry=SYMMETRY,
    particle_diameter_angstrom=DIAMETER_ANGSTROM,
    dataset_doi="10.6019/EMPIAR-10146",
    pdb=["4V1W"],
    licence="CC0",
    download=[
        "wget -r -np -nH --cut-dirs=2 https://ftp.ebi.ac.uk/empiar/world_availability/10146/data/",
        f"wget {MODEL_URL}",
    ],
    tiers=[
        TierInfo(
            tier="twin",
            summary="simulated: a procedural hollow shell with octahedral symmetry in the deposit's optics",
            particles=TWIN_PARTICLES,
            box_px=BOX_PX,
            pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
            size_bytes=1024 + TWIN_PARTICLES * BOX_PX**2 * 4,
            needs="nothing to download; a few minutes on two CPU cores",
        ),
        TierInfo(
            tier="subset",
            summary="2,387 real particles of 15 micrographs, extracted at 64 px and 3.0 A",
            particles=ROWS,
            box_px=BOX_PX,
            pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
            size_bytes=1024 + ROWS * BOX_PX**2 * 4,
            needs=f"a folder with {STAR_NAME} and its stack, and {MODEL_NAME} near it; a few minutes",
        ),
        TierInfo(
            tier="full",
            summary="the movies of the deposit; reading them is not part of this version",
            needs="the deposit's movies, and the stages from movies to particles",
        ),
    ],
)

DATASET = Dataset(
    INFO.name,
    "Apoferritin: real particles with octahedral symmetry, refined from a 20 A start",
    "cryorepro_datasets.empiar_10146:Empiar10146",
    info=INFO,
)


class Empiar10146:
    """Prepares the local particles of EMPIAR-10146 with a reference from the atomic model, or the twin."""

    def prepare(self, request: DataRequest) -> PreparedData:
        """Write particles, a reference and a mask below the directory asked for.

        The subset's come from the local copy, which is checked, and the model; the twin's are simulated. With the
        parameter ``micrographs`` the subset is the local micrographs with people's labels instead of particles.

        Raises:
            InputError: The tier cannot be had, or the local copy is missing or is not what was declared.
        """
        if request.tier == "twin":
            from cryorepro_datasets.apoferritin_twin import prepare_shell_twin

            return prepare_shell_twin(request)
        if request.tier != "subset":
            raise InputError(f"empiar-10146: tier '{request.tier}' cannot be prepared; use --tier subset or twin.")
        if request.local_path is None:
            raise InputError(
                f"empiar-10146: tier 'subset' needs the extracted particles: give the folder with"
                f" {STAR_NAME} as --data PATH; {MODEL_NAME} ({MODEL_URL}) is looked for in it, beside it"
                " and in ../models."
            )
        from cryorepro_datasets.apoferritin import prepare_subset

        return prepare_subset(request)

    def truth(self, request: DataRequest) -> Mapping[str, Path]:
        """The twin's ``particles`` and ``map``; real particles have no truth."""
        if request.tier != "twin":
            return {}
        from cryorepro_datasets.apoferritin_twin import truth_files

        return truth_files(request.truth_directory)
