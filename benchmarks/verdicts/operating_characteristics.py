"""How often verdicts accept and reject, against the true shift and the number of runs; writes it into docs/verdicts.md.

    python -m benchmarks.verdicts.operating_characteristics           # print the tables
    python -m benchmarks.verdicts.operating_characteristics --write   # into the docs, with the figure

Runs are normal with SD 1; the margin is 3 SD. Three rules are simulated: ours against a known figure, ours between two
groups of n runs, and the usual 95 % prediction interval of n reference runs for one new run.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import stats

from cryorepro.compare.equivalence import Band
from cryorepro.compare.power import group_chances

ROOT = Path(__file__).resolve().parents[2]
DOCS, FIGURE = ROOT / "docs" / "verdicts.md", ROOT / "docs" / "operating-characteristics.svg"
BEGIN, END = "<!-- operating-characteristics: begin -->", "<!-- operating-characteristics: end -->"
MARGIN, SEED, DRAWS = 3.0, 20261120, 40_000
RUNS = tuple(range(1, 11))
SHIFTS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 10.0)

Values = npt.NDArray[np.float64]
Rates = tuple[float, float]


def rates(middle: Values, half: Values) -> Rates:
    """Shares of draws accepted and rejected: the 90 % interval inside the margin, or wholly beyond it."""
    low, high = middle - half, middle + half
    return float(np.mean((low >= -MARGIN) & (high <= MARGIN))), float(np.mean((low > MARGIN) | (high < -MARGIN)))


def against_figure(shift: float, n: int, draws: int, random: np.random.Generator) -> Rates:
    """Ours, a group of ``n`` runs against a known figure. One run is never accepted, only ``within-band-n1``."""
    sample = random.normal(shift, 1.0, (draws, n))
    if n == 1:
        return 0.0, float(np.mean(np.abs(sample) > MARGIN))
    return rates(sample.mean(axis=1), stats.t.ppf(0.95, n - 1) * sample.std(axis=1, ddof=1) / np.sqrt(n))


def between_groups(shift: float, n: int, draws: int, random: np.random.Generator) -> Rates:
    """Ours, ``n`` runs against ``n`` others (Welch)."""
    first, second = random.normal(0.0, 1.0, (draws, n)), random.normal(shift, 1.0, (draws, n))
    middle = second.mean(axis=1) - first.mean(axis=1)
    if n == 1:
        return 0.0, float(np.mean(np.abs(middle) > MARGIN))
    parts = np.stack([group.var(axis=1, ddof=1) / n for group in (first, second)])
    df = parts.sum(axis=0) ** 2 / (parts**2).sum(axis=0) * (n - 1)
    return rates(middle, stats.t.ppf(0.95, df) * np.sqrt(parts.sum(axis=0)))


def prediction_interval(shift: float, n: int, draws: int, random: np.random.Generator) -> Rates:
    """The usual rule: one new run inside the 95 % prediction interval of ``n`` reference runs; it knows no margin."""
    if n == 1:
        return float("nan"), float("nan")
    reference, new = random.normal(0.0, 1.0, (draws, n)), random.normal(shift, 1.0, draws)
    half = stats.t.ppf(0.975, n - 1) * reference.std(axis=1, ddof=1) * np.sqrt(1 + 1 / n)
    inside = float(np.mean(np.abs(new - reference.mean(axis=1)) <= half))
    return inside, 1.0 - inside


RULES = {
    "ours-figure": ("Ours: n runs against a known figure, accepted / rejected", against_figure),
    "ours-groups": ("Ours: n runs against n others, accepted / rejected", between_groups),
    "prediction": ("The usual prediction interval of n runs, one new run accepted", prediction_interval),
}


def simulate(
    rule: str, runs: Sequence[int] = RUNS, draws: int = DRAWS, seed: int = SEED
) -> dict[tuple[int, float], Rates]:
    """Accepted and rejected shares by number of runs and true shift; each cell has draws of its own."""
    function = RULES[rule][1]
    return {
        (n, shift): function(
            shift, n, draws, np.random.default_rng([seed, list(RULES).index(rule), n, int(10 * shift)])
        )
        for n in runs
        for shift in SHIFTS
    }


def table(rule: str, found: dict[tuple[int, float], Rates]) -> str:
    """A markdown table of one rule."""
    lines = [f"**{RULES[rule][0]}**", "", "| n | " + " | ".join(f"{shift:g} SD" for shift in SHIFTS) + " |"]
    lines.append("|" + "---|" * (1 + len(SHIFTS)))
    for n in sorted({n for n, _ in found}):
        lines.append(f"| {n} | " + " | ".join(_cell(rule, found[n, shift]) for shift in SHIFTS) + " |")
    return "\n".join(lines)


def _cell(rule: str, pair: Rates) -> str:
    accepted, rejected = pair
    if accepted != accepted:
        return "-"
    return f"{accepted:.3f}" if rule == "prediction" else f"{accepted:.3f} / {rejected:.3f}"


def read_table(rule: str, text: str) -> dict[tuple[int, float], Rates]:
    """The figures that a document's table of one rule holds."""
    part = text.partition(f"**{RULES[rule][0]}**")[2].partition("**")[0]
    found = {}
    for line in part.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not re.fullmatch(r"\d+", cells[0]):
            continue
        for shift, cell in zip(SHIFTS, cells[1:], strict=True):
            if cell != "-":
                accepted, _, rejected = cell.partition(" / ")
                found[int(cells[0]), shift] = (float(accepted), float(rejected or 1 - float(accepted)))
    return found


def section() -> str:
    """All tables, as they stand in the docs."""
    return "\n\n".join(table(rule, simulate(rule)) for rule in RULES)


def draw(path: Path) -> None:
    """Accepting against the true shift, from the exact formulas: the usual rule beside ours."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "cryorepro", "font.size": 9})
    shifts = np.linspace(0, 10, 201)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
    for n, colour in zip((2, 3, 5, 10), ("#c1272d", "#e28e2c", "#0571b0", "#1b7837"), strict=True):
        usual = [prediction_chance(shift, n) for shift in shifts]
        ours = [group_chances(float(shift), 1.0, n, Band(MARGIN)) for shift in shifts]
        left.plot(shifts, usual, color=colour, label=f"n = {n}")
        right.plot(shifts, [chance.inside for chance in ours], color=colour, label=f"n = {n}")
        right.plot(shifts, [chance.outside for chance in ours], color=colour, linestyle=":")
    left.set(title="95 % prediction interval: accepted", ylabel="probability", xlabel="true shift (SD of one run)")
    right.set(title="two one-sided tests: accepted, rejected (dotted)", xlabel="true shift (SD of one run)")
    for axes in (left, right):
        axes.axvline(MARGIN, color="0.6", linewidth=0.8)
        axes.grid(alpha=0.3)
    left.legend()
    figure.savefig(path, metadata={"Date": None})


def prediction_chance(shift: float, n: int) -> float:
    """Chance that the prediction interval accepts, over 20,000 quantiles of the estimated SD.

    It is a non-central t, whose far tails scipy gives as nan.
    """
    centre, bound = shift / np.sqrt(1 + 1 / n), stats.t.ppf(0.975, n - 1)
    reach = bound * np.sqrt(stats.chi2.ppf((np.arange(20_000) + 0.5) / 20_000, n - 1) / (n - 1))
    return float(np.mean(stats.norm.cdf(reach - centre) - stats.norm.cdf(-reach - centre)))


def main() -> None:
    """Print the tables, or put them and the figure into the docs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--write", action="store_true")
    if not parser.parse_args().write:
        print(section())
        return
    text = DOCS.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    DOCS.write_text(f"{head}{BEGIN}\n{section()}\n{END}{tail}", encoding="utf-8")
    draw(FIGURE)


if __name__ == "__main__":
    main()
