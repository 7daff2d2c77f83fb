"""Machines for a person."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cryorepro.model.hardware import Instance
from cryorepro.model.machines import Machines


def print_instances(machines: Machines) -> None:
    """One line for each instance, then the errors of published pages."""
    out = Console()
    table = Table("instance", "vCPU", "memory", "GPUs", "NVMe", "USD/h", "seen until", box=None, pad_edge=False)
    for instance in machines.instances.values():
        table.add_row(*map(escape, _cells(instance)))
    out.print(table)
    for instance in machines.instances.values():
        for note in instance.notes:
            out.print(f"{instance.name}: {note}", markup=False, highlight=False, style="dim")


def _cells(instance: Instance) -> list[str]:
    latest = max(instance.prices, key=lambda price: price.seen_until, default=None)
    return [
        instance.name,
        str(instance.vcpu or "-"),
        f"{instance.memory_gib:g} GiB" if instance.memory_gib else "-",
        f"{instance.gpus.count} x {instance.gpus.model}" if instance.gpus else "-",
        f"{instance.local_nvme_gb:,.0f} GB" if instance.local_nvme_gb else "-",
        f"{latest.usd_per_hour:g}" if latest else "-",
        str(latest.seen_until) if latest else "-",
    ]
