"""What of a journal may leave: an allow-list, event by event and probe by probe.

Process numbers, boot identifiers and the hash of the host's name stay behind, and so does whatever a probe that is
not on the list has read.
"""

from __future__ import annotations

from typing import Any

from cryorepro.bundle.event_models import EVENT_MODELS

ALLOWED = {kind: frozenset(model.model_fields) for kind, model in EVENT_MODELS.items()}

_MEASUREMENTS = frozenset({"stage_ended"})
"""Events whose further fields may leave when they are plain numbers: times, memory, energy."""

_PROBES: dict[str, str] = {
    "cloud": "cloud hypervisor instance_type virtual",
    "container": "cgroup_version image_built image_declared image_sha256 kind root_filesystem signs",
    "cpu": """affinity affinity_cores architecture caches cgroup_quota_cores cores_logical cores_physical family flags
        frequency isolated load_average_1_5_15_min microcode mitigations model model_number numa numa_nodes smt_active
        smt_control stepping thermal_throttle_events usable_cores vendor virtualised""",
    "cryosparc": "found master worker",
    "filesystems": "roles",
    "gpu": "count cuda_driver driver gpus mps nvml nvml_error topology",
    "libraries": "bundled relion system",
    "memory": """available_bytes cgroup_limit_bytes huge_page_bytes huge_pages_free huge_pages_reserved nodes
        numa_balancing overcommit swap_free_bytes swap_total_bytes swappiness total_bytes transparent_huge_pages
        transparent_huge_pages_defrag usable_bytes zone_reclaim""",
    "python": "build compiler distributions implementation settings version virtual_environment",
    "pytorch": "environment numpy torch torch_build triton",
    "relion": "found mpi precision programs_sha256 version",
    "session": "clock decimal_point locale",
    "slurm": "in_job left_out variables",
    "system": "architecture aslr clock_source distribution hypervisor kernel kernel_release libc limits",
}
_PROBE_FIELDS = {name: frozenset(fields.split()) for name, fields in _PROBES.items()}
_NAMES_THE_JOB = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID")


def allowed_data(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """The part of an event's data that may leave; nothing of an event that is not on the list."""
    names = ALLOWED.get(kind, frozenset())
    kept = {name: value for name, value in data.items() if name in names or _measurement(kind, value)}
    if kind == "fingerprint_recorded":
        kept["probes"] = [_probe(probe) for probe in data["probes"]]
    return kept


def _measurement(kind: str, value: Any) -> bool:
    return kind in _MEASUREMENTS and isinstance(value, int | float)


def _probe(probe: dict[str, Any]) -> dict[str, Any]:
    fields = _PROBE_FIELDS.get(probe["name"], frozenset())
    data = {name: value for name, value in probe["data"].items() if name in fields}
    if isinstance(data.get("variables"), dict):
        data["variables"] = {name: text for name, text in data["variables"].items() if name not in _NAMES_THE_JOB}
    return {**probe, "data": data}
