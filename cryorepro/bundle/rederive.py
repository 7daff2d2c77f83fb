"""Derives the printed numbers again from the curves and tables that stand behind them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from cryorepro.bundle.curves import FscCurve, curves_of
from cryorepro.bundle.facts import Facts
from cryorepro.compare.comparability.keys import KEY_VERSION, digest, science_key
from cryorepro.compare.judge import judge

_TOLERANCE = 5e-4
"""Rounding of what is stored."""


def rederive_outcomes(facts: Facts) -> tuple[list[str], list[str], list[str]]:
    """Names of the outcomes that were derived again, of those that only the journal vouches for, and problems."""
    curves = curves_of(facts.record["outcomes"])
    derived, taken, problems = [], [], []
    for name, outcome in facts.record["outcomes"].items():
        if outcome["status"] != "measured" or not outcome["value"]:
            continue
        own = [curve for curve in curves if curve.outcome == name]
        found = _again(outcome, own, facts.record["stages"].get(outcome["stage"], {}))
        value = float(outcome["value"]["value"])
        if found is None:
            taken.append(name)
        elif abs(found - value) > _TOLERANCE * max(1.0, abs(value)):
            problems.append(f"outcome '{name}': the journal says {value:g}, its own curve or table gives {found:g}")
        else:
            derived.append(name)
        problems += _shell_problems(name, outcome["value"])
    return derived, taken, problems


def rejudge(facts: Facts) -> list[str]:
    """Problems with the verdicts: each is given again from the benchmark, the claims and the outcomes."""
    missing = [identifier for identifier in facts.benchmark.claims if identifier not in facts.claims]
    if missing:
        return [f"claim '{missing[0]}' of the benchmark is not in claims.json"]
    record = facts.record
    again = judge(facts.benchmark, facts.claims, [record])
    given = record["verdicts"]
    if len(again) != len(given):
        return [f"{len(given)} verdicts are in the journal where the benchmark asks for {len(again)}"]
    problems = []
    for verdict, stored in zip(again, given, strict=True):
        fresh = verdict.model_dump(mode="json")
        wrong = sorted(key for key, value in fresh.items() if stored.get(key) != value)
        if wrong:
            problems.append(
                f"verdict on '{stored['outcome']}': '{wrong[0]}' is {stored.get(wrong[0])!r:.80} in the journal and "
                f"{fresh[wrong[0]]!r:.80} when it is given again"
            )
    return problems + _rekeyed(facts)


def _rekeyed(facts: Facts) -> list[str]:
    """The science key follows from the journal and the benchmark; one that was recorded must be that one."""
    recorded = facts.record["keys"]
    if recorded is None or recorded["version"] != KEY_VERSION:
        return []
    again = science_key(facts.record, facts.benchmark)
    if recorded["science"] != again or recorded["science_sha256"] != digest(again):
        return ["the science key in the journal is not the one that follows from the run"]
    return []


def _again(outcome: dict[str, Any], curves: list[FscCurve], stage: dict[str, Any]) -> float | None:
    if curves:
        from cryorepro.em.fsc import crossing

        shells = [float(crossing(_array(curve.values), curve.threshold).shell) for curve in curves]
        return sum(shells) / len(shells)
    rule = _RULES.get(outcome["metric"])
    if rule is None:
        return None
    try:
        return rule(outcome["value"], stage)
    except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError):
        return math.inf  # what should be there is not: reported as a difference


def _array(values: list[float]) -> Any:
    import numpy as np

    return np.asarray(values, dtype=np.float64)


def _class_resolution(value: dict[str, Any], stage: dict[str, Any]) -> float:
    """The shell of the resolution that the program reported and the runner wrote down."""
    reported = float(stage["numbers"]["current_resolution_angstrom"])
    return float(round(value["box_px"] * value["pixel_size_angstrom"] / reported))


def _occupancy(_value: dict[str, Any], stage: dict[str, Any]) -> float:
    shares = [share for name, share in stage["numbers"].items() if name.startswith("class") and "_fraction" in name]
    return float(max(shares))


def _accuracy(value: dict[str, Any], _stage: dict[str, Any]) -> float:
    """The best one-to-one assignment of found to true classes."""
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    table = np.asarray(value["details"]["confusion"], dtype=np.int64)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / table.sum())


def _backed(value: dict[str, Any], _stage: dict[str, Any]) -> float:
    """The shell that signal backs, from the half maps' curves and those of random poses."""
    from cryorepro.em.signal_backing import Backing

    details = value["details"]
    plain, aspherical = (_array(details[name]) for name in ("half_map_curve", "aspherical_curve"))
    controls = tuple(_array(curve) for curve in details["random_pose_curves"])
    threshold, order = float(details["threshold"]), int(details["symmetry_order"])
    return float(Backing(plain, aspherical, controls, threshold, order).backed_shell)


def _bfactor(value: dict[str, Any], _stage: dict[str, Any]) -> float:
    """The line through the points of the series."""
    from cryorepro.em.reslog import Point, fit_series

    points = [Point(int(row["particles"]), float(row["angstrom"]), 0) for row in value["details"]["points"]]
    return fit_series(points).bfactor_angstrom2


def _rand(value: dict[str, Any], _stage: dict[str, Any]) -> float:
    """Pairs of particles, from the table of found and true classes."""
    from cryorepro.em.class_matching import ClassMatch

    table = _array(value["details"]["confusion"]).astype("int64")
    rows, columns = table.shape
    return ClassMatch(table, tuple(range(rows)), tuple(range(columns)), ()).adjusted_rand_index


def _f1(value: dict[str, Any], _stage: dict[str, Any]) -> float:
    """Twice the matched positions over those picked and those true."""
    matched, picked, true = (int(value["details"][name]) for name in ("matched", "picked", "true"))
    return 2.0 * matched / (picked + true) if matched <= min(picked, true) else math.inf


def _local(value: dict[str, Any], _stage: dict[str, Any]) -> float:
    """The shell of the quantile in Angstrom."""
    details = value["details"]
    angstrom = float(details["quantiles_angstrom"][f"{details['quantile']:g}"])
    return float(value["box_px"] * value["pixel_size_angstrom"] / angstrom)


def _area_ratio(value: dict[str, Any], _stage: dict[str, Any]) -> float:
    """The least over the greatest area under the curves of all directions."""
    lowest, highest = value["details"]["areas_lowest_highest"]
    return float(lowest) / float(highest) if highest else 0.0


def _own_noise(value: dict[str, Any], _stage: dict[str, Any]) -> float:
    """The weaker of both half maps' correlations with their own particles."""
    table = value["details"]["noise_correlation"]
    return min(float(table[0][0]), float(table[1][1]))


_RULES: dict[str, Callable[[dict[str, Any], dict[str, Any]], float]] = {
    "class3d_resolution": _class_resolution,
    "class_occupancy": _occupancy,
    "class_accuracy": _accuracy,
    "backed_resolution": _backed,
    "particle_bfactor": _bfactor,
    "adjusted_rand": _rand,
    "pick_f1": _f1,
    "local_resolution": _local,
    "conical_fsc_ratio": _area_ratio,
    "half_set_provenance": _own_noise,
}


def _shell_problems(name: str, value: dict[str, Any]) -> list[str]:
    """A resolution must be a whole shell of its own box, and its Angstrom figure that shell's."""
    if value["unit"] != "shells" or value["shell"] is None:
        return []
    if abs(value["shell"] - value["value"]) > 0.5:
        return [f"outcome '{name}': shell {value['shell']} is not the value {value['value']:g}"]
    angstrom = value["details"].get("angstrom")
    if not angstrom or not value["shell"] or not value["box_px"] or not value["pixel_size_angstrom"]:
        return []
    expected = value["box_px"] * value["pixel_size_angstrom"] / value["shell"]
    if abs(expected / float(angstrom) - 1) > 0.5 / value["shell"]:
        return [f"outcome '{name}': {angstrom:g} A is not shell {value['shell']} of its box ({expected:.3g} A)"]
    return []
