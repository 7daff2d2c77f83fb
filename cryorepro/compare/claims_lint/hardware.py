"""Rules: what is said of a machine agrees with the registry, and nothing ran on less memory than it is said to need."""

from __future__ import annotations

from collections.abc import Iterator

from cryorepro.compare.claims_lint.finding import Finding, Record
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
    """Runs on cards with less memory than a source says the workload needs."""
    for need in record.claims.values():
        if need.quantity != "minimum_gpu_memory":
            continue
        for time in record.times:
            cards = record.machines.family(time.gpu or "")
            if time.workload == need.workload and cards and max(card.memory_gb for card in cards) < need.value:
                yield Finding(
                    "memory",
                    (need.id, time.id),
                    f"more than {need.value:g} {need.unit} are said to be needed, yet it ran on {time.hardware}, "
                    f"{max(card.memory_gb for card in cards):g} GB each",
                )
