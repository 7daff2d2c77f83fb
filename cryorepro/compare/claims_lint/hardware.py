"""Rules: what is said of a machine agrees with the registry, and nothing ran on less memory than it is said to need."""

from __future__ import annotations

from collections.abc import Iterator

from cryorepro.compare.claims_lint.finding import Finding, Record
from cryorepro.model.claim import Claim
from cryorepro.model.hardware import Instance

_GB_IN_GIB = 1e9 / 2**30


def check_hardware(record: Record) -> Iterator[Finding]:
    """vCPU, memory and local drives of instances that differ from the registry by more than 1 %."""
    for claim in record.claims.values():
        instance = record.machines.instances.get(claim.instance or "")
        known = _known(instance, claim.quantity) if instance else None
        if instance is None or known is None:
            continue
        # A page that prints GB may mean GiB: either reading will do.
        readings = {claim.value, claim.value * _GB_IN_GIB} if claim.unit == "GB" else {claim.value}
        if all(abs(reading / known - 1) > 0.01 for reading in readings):
            yield Finding(
                "hardware", (claim.id,), f"{claim.value:g} {claim.unit} for {instance.name}; the registry has {known:g}"
            )


def _known(instance: Instance, quantity: str) -> float | None:
    values = {"vcpu": instance.vcpu, "instance_memory": instance.memory_gib, "local_nvme": instance.local_nvme_gb}
    return values.get(quantity)


def check_memory(record: Record) -> Iterator[Finding]:
    """Statements of the memory a workload needs that a run on smaller cards contradicts."""
    families = {time.gpu for time in record.times if time.gpu is not None}
    memory = {name: max((card.memory_gb for card in record.machines.family(name)), default=None) for name in families}
    least: dict[str, tuple[float, Claim]] = {}
    for time in sorted(record.times, key=lambda claim: claim.id):
        size = memory.get(time.gpu or "")
        if size is not None and size < least.get(time.workload, (float("inf"),))[0]:
            least[time.workload] = (size, time)
    for need in record.claims.values():
        size, ran = least.get(need.workload, (float("inf"), need))
        if need.quantity == "minimum_gpu_memory" and size < need.value:
            yield Finding(
                "memory",
                (need.id, ran.id),
                f"more than {need.value:g} {need.unit} are said to be needed, yet it ran on {ran.hardware}, "
                f"{size:g} GB each",
            )
