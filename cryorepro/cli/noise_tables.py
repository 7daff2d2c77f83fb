"""How far the times of runs can be believed, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console


def print_noise(out: Console, record: Mapping[str, Any]) -> None:
    """Replicates, interleaving, median, interval, and the machine's repeatability of one run."""
    noise = record.get("noise")
    if noise is None:
        _say(out, repeatability(record.get("calibration")))
        return
    count = noise["replicates"]
    _say(
        out, f"times: {count} replicate{'' if count == 1 else 's'} on this machine, interleaved {noise['interleaving']}"
    )
    for name, stage in noise["stages"].items():
        interval = stage["interval"]
        if interval is not None:
            bounds = f"{interval['low']:.4g} to {interval['high']:.4g} s ({interval['level']:.0%})"
            disturbed = f", {stage['perturbed']} of them perturbed" if stage["perturbed"] else ""
            text = (
                f"median of {len(stage['wall_seconds'])} {stage['median_seconds']:.4g} s, interval {bounds}{disturbed}"
            )
            _say(out, f"  {name}: {text}")
    _say(out, repeatability(noise["calibration"]))


def print_visible(out: Console, comparison: Mapping[str, Any]) -> None:
    """What difference of times two runs can show, and what disturbed them."""
    limit = comparison["smallest_visible"]
    if limit is None:
        sides = zip(comparison["runs"], comparison["repeatability"], strict=True)
        lacking = [run for run, calibration in sides if calibration is None]
        _say(
            out,
            f"times: {' and '.join(lacking)} state no repeatability: no difference of times can be told from noise",
        )
    else:
        _say(out, f"times: one run each; differences below {limit:.1%} cannot be told from the machines' own noise")
    for run, flags in zip(comparison["runs"], comparison["perturbed"], strict=True):
        for flag in flags:
            _say(out, f"{run} perturbed: {flag}")


def repeatability(calibration: Mapping[str, Any] | None) -> str:
    """A calibration in one sentence."""
    if calibration is None:
        return "repeatability of the machine: not measured"
    when = "for this run" if calibration["measured_for_this_run"] else f"on {calibration['measured_at']}"
    disturbed = f", while perturbed ({', '.join(calibration['perturbed'])})" if calibration["perturbed"] else ""
    return (
        f"repeatability of the machine: {calibration['blocks']} equal blocks in {calibration['seconds']:g} s {when}"
        f"{disturbed}: spread {calibration['spread']:.1%}, drift {calibration['drift']:+.1%}; "
        f"single times that differ by less than {calibration['smallest_visible_once']:.1%} cannot be told apart"
    )


def _say(out: Console, text: str) -> None:
    out.print(text, markup=False, highlight=False)
