"""Registers the dataset ``blobs``, the runner ``wrong`` and the benchmark ``wrong``."""

from collections.abc import Iterable

from cryorepro.model.dataset import DatasetInfo, TierInfo
from cryorepro.plugins.hookspecs import hookimpl
from cryorepro.plugins.types import Dataset, Runner, Spec

CRYOREPRO_API = "1"

INFO = DatasetInfo(
    name="blobs",
    accession="BLOBS-1",
    title="Blobs",
    sample="a lopsided particle of blobs",
    voltage_kv=300,
    spherical_aberration_mm=2.0,
    amplitude_contrast=0.1,
    symmetry="C1",
    particle_diameter_angstrom=280,
    tiers=[TierInfo(tier="twin", summary="simulated images with known poses")],
)


@hookimpl
def cryorepro_datasets() -> Iterable[Dataset]:
    yield Dataset("blobs", "Blobs", "cryorepro_wrong.dataset:Blobs", info=INFO)


@hookimpl
def cryorepro_runners() -> Iterable[Runner]:
    home = "cryorepro_wrong.runner"
    yield Runner(
        "wrong",
        "Reconstructs from known poses, rightly or wrongly",
        f"{home}:Backprojection",
        stages=("backproject", "sharpen"),
        parameter_models={"backproject": f"{home}:BackprojectParameters", "sharpen": f"{home}:SharpenParameters"},
    )
    yield Runner("careless", "Random poses", "cryorepro_wrong.careless:Careless", stages=("refine3d",))


@hookimpl
def cryorepro_specs() -> Iterable[Spec]:
    yield Spec("wrong", "Reconstructs blobs", "cryorepro_wrong.runner:spec")
