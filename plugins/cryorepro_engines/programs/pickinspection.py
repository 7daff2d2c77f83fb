"""Stage program: keep picks by declared limits, limits they suggest, an earlier decision, or a person's selection."""

from __future__ import annotations

from collections.abc import Mapping

from cryorepro.em.errors import InputError
from cryorepro.em.formats.star import Value
from cryorepro.em.picking.decisions import (
    DECISION,
    Decision,
    by_hand,
    by_reasons,
    read_decision,
    replayed,
    write_decision,
)
from cryorepro.em.picking.inspection import Limits, automatic_limits
from cryorepro.em.picking.tables import PickTable, read_picks, write_picks
from cryorepro.model.picking_stages import PickInspectionParameters
from cryorepro.model.stage import StageRequest
from cryorepro_engines.programs._main import parameters_of, run_program


def work(request: StageRequest) -> None:
    """Decide on every pick of ``inputs.coordinates``.

    ``inputs.selection`` (coordinates a person saved) stands above ``inputs.decision``, and that above the parameters.

    Raises:
        InputError: an input is malformed, nothing says what to keep, or nothing is kept.
    """
    parameters = parameters_of(request, PickInspectionParameters)
    table = read_picks(request.inputs["coordinates"])
    decision, rule = _decided(request, parameters, table)
    kept = sum(len(picks) for picks in decision.kept)
    if kept == 0:
        raise InputError(f"{table.source}: none of {table.total} picks is kept.")
    counts = [float(len(picks)) for picks in decision.kept]
    write_picks(request.output_dir, decision.table.names, decision.kept, {"cryoreproPicks": counts})
    write_decision(request.output_dir / DECISION, decision, rule)
    print(f"{kept} of {decision.table.total} picks, {rule}", flush=True)
    for reason, number in decision.count().items():
        print(f"{number}: {reason}", flush=True)


def _decided(
    request: StageRequest, p: PickInspectionParameters, table: PickTable
) -> tuple[Decision, Mapping[str, Value]]:
    """The decision, and by what it was made."""
    if "selection" in request.inputs:
        return by_hand(table, read_picks(request.inputs["selection"])), {"cryoreproDecidedBy": "saved_selection"}
    if "decision" in request.inputs:
        if p.has_rule:
            raise InputError(f"stage {request.stage}: inputs.decision is given beside a limit; give one.")
        return replayed(table, read_decision(request.inputs["decision"])), {"cryoreproDecidedBy": "earlier_decision"}
    if not p.has_rule:
        made = "the published choice was made by hand; " if p.published_as_interactive else ""
        raise InputError(
            f"stage {request.stage}: {made}give a limit or a rule in parameters, inputs.decision or inputs.selection."
        )
    limits = Limits(p.lowest_ncc, p.lowest_power, p.highest_power)
    if p.automatic is not None:
        limits = automatic_limits(table, p.automatic, limits)
    rule: dict[str, Value] = {"cryoreproDecidedBy": p.automatic or "limits"}
    labels = {"lowest_ncc": "LowestNcc", "lowest_power": "LowestPower", "highest_power": "HighestPower"}
    given = {f"cryorepro{label}": getattr(limits, name) for name, label in labels.items()}
    rule |= {label: value for label, value in given.items() if value is not None}
    return by_reasons(table, limits.reasons(table.joined("ncc"), table.joined("power"))), rule


if __name__ == "__main__":
    run_program(work)
