"""Identifiers from other vocabularies, and the few terms of our own: claims, outcomes, verdicts."""

from __future__ import annotations

from typing import Any

CRATE_11 = "https://w3id.org/ro/crate/1.1"
CONTEXTS = (f"{CRATE_11}/context", "https://w3id.org/ro/terms/workflow-run/context")
"""The second defines sha256, environment and resourceUsage; without it these vanish without a word."""
WORKFLOW_CRATE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"

PROFILES = (
    ("https://w3id.org/ro/wfrun/process/0.5", "Process Run Crate", "0.5"),
    ("https://w3id.org/ro/wfrun/workflow/0.5", "Workflow Run Crate", "0.5"),
    ("https://w3id.org/ro/wfrun/provenance/0.5", "Provenance Run Crate", "0.5"),
    (WORKFLOW_CRATE, "Workflow RO-Crate", "1.0"),
    ("urn:cryorepro:profile:run-crate:0.1", "cryorepro Run Crate", "0.1"),
)
STAGE_PROFILES = (PROFILES[2], PROFILES[4])
"""These need a stage that ran; a run that failed before its first stage is a Workflow Run Crate only."""

BIOSCHEMAS_WORKFLOW = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
BIOSCHEMAS_PARAMETER = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"

OWN = "urn:cryorepro:terms#"
_OWN_NAMES = (
    "Outcome", "PublishedClaim", "Verdict", "measuredFrom", "verdictOn", "verdictAgainst", "verdictWord", "assurance",
    "margin", "marginReason", "quality", "selfCheck",
)  # fmt: skip
OWN_TERMS = {name: OWN + name for name in _OWN_NAMES}

_QUDT = "http://qudt.org/vocab/unit/"
USAGE: dict[str, tuple[str, str]] = {
    "wall_seconds": ("wall time", _QUDT + "SEC"),
    "cpu_seconds": ("processor time", _QUDT + "SEC"),
    "peak_memory_bytes": ("peak memory", _QUDT + "BYTE"),
    "read_bytes": ("bytes read", _QUDT + "BYTE"),
    "written_bytes": ("bytes written", _QUDT + "BYTE"),
    "energy_joules": ("energy of the processors", _QUDT + "J"),
    "gpu_energy_joules": ("energy of the GPUs", _QUDT + "J"),
    "gpu_seconds": ("GPU time", _QUDT + "SEC"),
    "peak_gpu_memory_bytes": ("peak GPU memory", _QUDT + "BYTE"),
}
"""What a stage's use of the machine is called and counted in."""

MEDIA_TYPES = {
    ".md": "text/markdown", ".json": "application/json", ".jsonl": "application/jsonl", ".csv": "text/csv",
    ".yaml": "application/yaml", ".yml": "application/yaml", ".cff": "application/yaml", ".xml": "application/xml",
    ".bib": "application/x-bibtex", ".cif": "chemical/x-mmcif", ".svg": "image/svg+xml", ".png": "image/png",
    ".mrc": "application/octet-stream", ".map": "application/octet-stream", ".star": "text/plain",
    ".ttl": "text/turtle",
}  # fmt: skip


def context() -> list[Any]:
    """The value of ``@context``."""
    return [*CONTEXTS, OWN_TERMS]
