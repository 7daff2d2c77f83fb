"""Registers the toy dataset, runner, metric and benchmark."""

from collections.abc import Iterable

from cryorepro.model.dataset import DatasetInfo, TierInfo
from cryorepro.plugins.hookspecs import hookimpl
from cryorepro.plugins.types import Dataset, Metric, Runner, Spec

CRYOREPRO_API = "1"

INFO = DatasetInfo(
    name="toy",
    accession="TOY-1",
    title="Numbers",
    sample="integers",
    voltage_kv=300,
    spherical_aberration_mm=2.7,
    amplitude_contrast=0.1,
    symmetry="C1",
    particle_diameter_angstrom=100,
    tiers=[TierInfo(tier="twin", summary="a few numbers")],
)


@hookimpl
def cryorepro_datasets() -> Iterable[Dataset]:
    yield Dataset("toy", "Numbers", "cryorepro_toy.parts:Numbers", info=INFO)


@hookimpl
def cryorepro_runners() -> Iterable[Runner]:
    yield Runner(
        "toy",
        "Sums numbers",
        "cryorepro_toy.parts:Summation",
        stages=("sum",),
        parameter_models={"sum": "cryorepro_toy.parts:SumParameters"},
    )

    yield Runner(
        "toy-biased",
        "Sums numbers, five too high",
        "cryorepro_toy.parts:BiasedSummation",
        stages=("sum",),
        parameter_models={"sum": "cryorepro_toy.parts:SumParameters"},
    )


@hookimpl
def cryorepro_metrics() -> Iterable[Metric]:
    yield Metric("toy_total", "The sum", "cryorepro_toy.parts:Total", unit="counts", needs_truth=True)
    yield Metric("toy_value", "The sum with its noise", "cryorepro_toy.parts:Value", unit="counts")


@hookimpl
def cryorepro_specs() -> Iterable[Spec]:
    yield Spec("toy", "Sums numbers in steps", "cryorepro_toy.parts:spec")
