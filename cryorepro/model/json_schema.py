"""The JSON Schema of a benchmark file, with the parameter models of the stages the framework knows."""

from __future__ import annotations

from typing import Any

from cryorepro.model.benchmark import Benchmark
from cryorepro.model.processing_stages import KNOWN_PARAMETERS


def benchmark_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12); parameters of known stage kinds stand under ``$defs``."""
    schema = Benchmark.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "cryorepro benchmark"
    for kind, model in KNOWN_PARAMETERS.items():
        schema["$defs"][f"parameters-{kind}"] = model.model_json_schema()
    return schema
