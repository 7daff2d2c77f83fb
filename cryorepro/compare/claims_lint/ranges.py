"""Rule: a figure lies where its unit allows it to lie."""

from __future__ import annotations

from collections.abc import Iterator

from cryorepro.compare.claims_lint.finding import Finding, Record

LIMITS: dict[str, tuple[float, float]] = {"fraction": (0, 1), "percent": (0, 100)}
POSITIVE = {
    "seconds", "angstrom", "GB", "GiB", "MB", "TB", "bytes", "USD", "USD/h", "CPU-hours", "runs", "classes",
    "iterations", "particles", "movies", "samples", "vCPU", "CPUs", "GPUs", "times",
}  # fmt: skip


def check_ranges(record: Record) -> Iterator[Finding]:
    """Shares beyond one, percentages beyond 100, times and sizes that are not positive."""
    for claim in record.claims.values():
        low, high = LIMITS.get(claim.unit, (float("-inf"), float("inf")))
        if not low <= claim.value <= high:
            yield Finding("ranges", (claim.id,), f"{claim.value:g} {claim.unit} lies outside {low:g} to {high:g}")
        elif claim.unit in POSITIVE and claim.value <= 0:
            yield Finding("ranges", (claim.id,), f"{claim.value:g} {claim.unit}: this cannot be")
