"""The steps that CryoSPARC leaves to a person, carried out by declared rules; what was decided is written down.

Inspect Picks and Select 2D take their rules through the calls of the worked example of cryosparc-tools. Curation
offers a list of fields, whose names are documented only in part: a limit is put on the field that names it, and where
none does the limit is refused. Without any rule the job waits for a person at the web page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cryosparc.controllers.job import JobController

from cryorepro.em.errors import InputError
from cryorepro_cryosparc.mongo import shown
from cryorepro_cryosparc.recipes import Parameters

Decision = dict[str, Any]
_FIELDS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "worst_ctf_resolution_angstrom": (("ctf_fit", "ctf fit"), "highest"),
    "lowest_defocus_angstrom": (("df_avg", "average defocus", "defocus avg"), "lowest"),
    "highest_defocus_angstrom": (("df_avg", "average defocus", "defocus avg"), "highest"),
    "highest_astigmatism_angstrom": (("astig",), "highest"),
    "highest_total_motion_angstrom": (("total_motion", "total motion", "full-frame motion"), "highest"),
}


def decide(job: JobController, job_type: str, parameters: Parameters) -> Decision | None:
    """Carry the rules out and end the interaction; None where there are none and a person has to.

    Raises:
        InputError: a rule cannot be applied here.
    """
    rule = _RULES.get(job_type)
    return None if rule is None else rule(job, parameters)


def _inspect_picks(job: JobController, parameters: Parameters) -> Decision | None:
    names = {
        "lowest_ncc": "ncc_score_thresh",
        "lowest_power": "lpower_thresh_min",
        "highest_power": "lpower_thresh_max",
    }
    limits = {theirs: parameters[ours] for ours, theirs in names.items() if parameters.get(ours) is not None}
    if not limits:
        return None
    job.interact("set_thresholds", limits)
    job.interact("shutdown_interactive")
    return {"thresholds": limits}


def _select_2d(job: JobController, parameters: Parameters) -> Decision | None:
    limits = ("worst_resolution_angstrom", "smallest_fraction", "largest_classes")
    by_rule = parameters.get("keep") == "largest" or any(parameters.get(name) is not None for name in limits)
    if parameters.get("classes") is None and not by_rule:
        return None
    rows = [_class_row(row) for row in job.interact("get_class_info")]
    chosen = chosen_classes(rows, parameters)
    if not chosen:
        raise InputError("the rule keeps no class")
    for index in chosen:
        job.interact("set_class_selected", {"class_idx": index, "selected": True})
    job.interact("finish")
    return {"classes": rows, "selected": chosen}


def _class_row(row: Any) -> dict[str, Any]:
    try:
        return {
            "class_idx": int(row["class_idx"]),
            "res_A": float(row["res_A"]),
            "num_particles_total": int(row["num_particles_total"]),
        }
    except (TypeError, KeyError, ValueError) as error:
        raise InputError("Select 2D described a class in words this version does not know") from error


def chosen_classes(rows: list[dict[str, Any]], parameters: Parameters) -> list[int]:
    """The classes (from 0) that a list or a rule keeps; our lists count from 1."""
    listed = parameters.get("classes")
    if listed is not None:
        return sorted({int(number) - 1 for number in listed} & {row["class_idx"] for row in rows})
    total = sum(row["num_particles_total"] for row in rows) or 1
    worst, share = parameters.get("worst_resolution_angstrom"), parameters.get("smallest_fraction")
    good = [
        row
        for row in rows
        if row["num_particles_total"] > 0
        and (worst is None or 0 < row["res_A"] <= worst)
        and (share is None or row["num_particles_total"] / total >= share)
    ]
    most = 1 if parameters.get("keep") == "largest" else parameters.get("largest_classes")
    best = sorted(good, key=lambda row: (-row["num_particles_total"], row["class_idx"]))[:most]
    return sorted(row["class_idx"] for row in best)


def _curate(job: JobController, parameters: Parameters) -> Decision | None:
    limits = {name: parameters[name] for name in _FIELDS if parameters.get(name) is not None}
    if not limits:
        return None
    data = job.interact("get_fields_and_thresholds")
    fields = data.get("fields") if isinstance(data, dict) else None
    if not isinstance(fields, list):
        raise InputError("Curate Exposures described its fields in words this version does not know")
    for name, limit in limits.items():
        _limit(fields, name, float(limit))
    job.interact("set_thresholds", data)
    job.interact("shutdown_interactive")
    return {"limits": limits}


def _limit(fields: list[dict[str, Any]], name: str, limit: float) -> None:
    words, side = _FIELDS[name]
    for field in fields:
        text = f"{field.get('name', '')} {field.get('title', '')}".lower()
        if any(word in text for word in words):
            low, high = field.get("thresholds") or field.get("range") or (limit, limit)
            field["thresholds"] = [max(low, limit), high] if side == "lowest" else [low, min(high, limit)]
            field["active"] = True
            return
    known = ", ".join(shown(field.get("name", "?"), 40) for field in fields[:20])
    raise InputError(f"curation: no field of this CryoSPARC is for {name} (it has: {known})")


_RULES: Mapping[str, Callable[[JobController, Parameters], Decision | None]] = {
    "inspect_picks_v2": _inspect_picks,
    "select_2D": _select_2d,
    "curate_exposures_v2": _curate,
}
