"""The registry of machines and prices that ships with cryorepro, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from cryorepro.model.hardware import Gpu, Instance, Storage
from cryorepro.model.shipped import shipped
from cryorepro.model.strict_yaml import load_named


@dataclass(frozen=True)
class Machines:
    """Instances, GPUs and storage by name."""

    instances: dict[str, Instance]
    gpus: dict[str, Gpu]
    storage: dict[str, Storage]

    def family(self, name: str) -> list[Gpu]:
        """The GPUs that claims call ``name`` and whose entry carries no flag."""
        return [gpu for gpu in self.gpus.values() if gpu.family == name and gpu.flag is None]


def load_machines(directory: Path | None = None) -> Machines:
    """The registry of machines.

    Raises:
        InputError: a file is malformed, or a name is used twice in it.
    """
    root = directory or shipped("registry")
    return Machines(
        instances=load_named(root / "instances.yaml", Instance, lambda record: record.name),
        gpus=load_named(root / "gpus.yaml", Gpu, lambda record: record.name),
        storage=load_named(root / "storage.yaml", Storage, lambda record: record.name),
    )


def machine_problems(machines: Machines, today: date) -> list[str]:
    """What is inconsistent between entries; an empty list when nothing is."""
    problems: list[str] = []
    for instance in machines.instances.values():
        problems += [f"{instance.name}: {problem}" for problem in _instance_problems(instance, machines, today)]
    return problems


def _instance_problems(instance: Instance, machines: Machines, today: date) -> list[str]:
    problems: list[str] = []
    if instance.vcpu is None and instance.quality != "unverified":
        problems.append("no vCPU count, yet its quality is not 'unverified'")
    if instance.gpus is not None:
        gpu = machines.gpus.get(instance.gpus.model)
        if gpu is None:
            problems.append(f"its GPU '{instance.gpus.model}' is not in gpus.yaml")
        elif gpu.flag is None and abs(instance.gpus.memory_mib_each / 1024 / gpu.memory_gb - 1) > 0.1:
            problems.append(
                f"{instance.gpus.memory_mib_each} MiB for each GPU, but {gpu.name} has {gpu.memory_gb:g} GB"
            )
    ordered = sorted(instance.prices, key=lambda price: (price.region, price.operating_system, price.seen_from))
    for earlier, later in zip(ordered, ordered[1:], strict=False):
        same = (earlier.region, earlier.operating_system) == (later.region, later.operating_system)
        if same and later.seen_from <= earlier.seen_until and later.usd_per_hour != earlier.usd_per_hour:
            problems.append(f"two prices on {later.seen_from} in {later.region}")
    for price in instance.prices:
        if price.seen_until > today:
            problems.append(f"a price seen on {price.seen_until}, which has not come yet")
    return problems
