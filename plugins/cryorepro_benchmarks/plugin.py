"""The benchmarks that ship with cryorepro."""

from __future__ import annotations

from collections.abc import Iterable

from cryorepro.plugins.hookspecs import hookimpl
from cryorepro.plugins.types import Spec

CRYOREPRO_API = "1"

SUMMARIES = {
    "empiar-10028": "RELION Class3D of the Plasmodium 80S ribosome",
    "empiar-10028-chain": "Class3D, Refine3D and PostProcess of the Plasmodium 80S ribosome",
    "empiar-10028-class2d": "RELION Class2D of the Plasmodium 80S ribosome",
    "empiar-10146": "Refinement of real apoferritin particles against the model",
    "empiar-10146-micrographs": "Real micrographs of apoferritin: CTF, picks, extraction, map against the model",
    "empiar-10288": "CryoSPARC's AWS guide: CB1-G protein complex, movies to map",
    "empiar-10025": "Extensive Validation: T20S proteasome, movies to map",
    "empiar-10305": "Extensive Validation: helical sample, movies to 2D classes",
    "empiar-10338": "STFC case 1: aldolase, six stages",
    "empiar-10204": "RELION tutorial, also STFC's: beta-galactosidase, movies to polished map",
    "empiar-10390": "STFC's third data set: HKU1 esterase, movies to 2D classes",
    "empiar-10002": "Cianfrocco and Leschziner 2015: yeast 80S ribosome on a rented cluster",
}


@hookimpl
def cryorepro_specs() -> Iterable[Spec]:
    """One descriptor for each shipped YAML file."""
    for name, summary in SUMMARIES.items():
        yield Spec(name, summary, f"cryorepro_benchmarks.files:{name.replace('-', '_')}")
