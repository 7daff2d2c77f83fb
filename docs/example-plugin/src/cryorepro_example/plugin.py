"""What this plugin registers. Only descriptors: listing plugins must stay quick, so nothing heavy is imported here.

An implementation is named by its import path and loaded when it is used.
"""

from __future__ import annotations

from collections.abc import Iterable

from cryorepro.model.dataset import DatasetInfo, TierInfo
from cryorepro.plugins.hookspecs import hookimpl
from cryorepro.plugins.types import Dataset, Metric, Probe, Runner, Spec

CRYOREPRO_API = "1"

BALL = DatasetInfo(
    name="example-ball",
    accession="EXAMPLE-1",
    title="A ball",
    sample="a ball of constant density in empty space",
    voltage_kv=300,
    spherical_aberration_mm=2.7,
    amplitude_contrast=0.1,
    symmetry="C1",
    particle_diameter_angstrom=64,
    tiers=[TierInfo(tier="twin", summary="one map, computed in a moment", box_px=32, pixel_size_angstrom=4.0)],
)


@hookimpl
def cryorepro_datasets() -> Iterable[Dataset]:
    """One dataset."""
    yield Dataset("example-ball", "A ball whose volume is known", "cryorepro_example.dataset:Ball", info=BALL)


@hookimpl
def cryorepro_runners() -> Iterable[Runner]:
    """One runner. It carries out a stage kind the framework knows, so it brings no parameter model of its own."""
    yield Runner(
        "example-threshold",
        "A hard mask: every voxel above a threshold",
        "cryorepro_example.runner:ThresholdRunner",
        stages=("maskcreate",),
        deterministic=True,
    )


@hookimpl
def cryorepro_probes() -> Iterable[Probe]:
    """One probe."""
    yield Probe("example-entropy", "Bits of entropy the kernel has at hand", "cryorepro_example.probe:Entropy")


@hookimpl
def cryorepro_metrics() -> Iterable[Metric]:
    """One metric; its unit is the unit of every tolerance that refers to it."""
    yield Metric("example_mask_voxels", "Voxels inside a mask", "cryorepro_example.metric:Voxels", unit="voxels")


@hookimpl
def cryorepro_specs() -> Iterable[Spec]:
    """One benchmark that uses all of them."""
    yield Spec("example-ball", "Mask a ball and count its voxels", "cryorepro_example.benchmark:path")
