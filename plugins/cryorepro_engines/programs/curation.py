"""Stage program: keep the micrographs within declared limits, or those an earlier decision kept."""

from __future__ import annotations

from cryorepro.em.ctf_estimation_files import MicrographTable, read_micrograph_table
from cryorepro.em.curation import Limit, by_limits, read_decision, write_curation
from cryorepro.em.errors import InputError
from cryorepro.model.curation_stage import CurationParameters
from cryorepro.model.stage import StageRequest
from cryorepro_engines.programs._main import parameters_of, run_program


def work(request: StageRequest) -> None:
    """Decide on every micrograph of ``inputs.micrographs``, by ``inputs.decision`` if it is given.

    Raises:
        InputError: an input is malformed, neither limits nor a decision are given or both are, or nothing is kept.
    """
    parameters = parameters_of(request, CurationParameters)
    table = read_micrograph_table(request.inputs["micrographs"])
    reasons = _reasons(request, parameters, table)
    write_curation(request.output_dir, table, reasons)
    for name, reason in zip(table.names, reasons, strict=True):
        print(f"{name}: {reason or 'kept'}", flush=True)


def _reasons(request: StageRequest, parameters: CurationParameters, table: MicrographTable) -> list[str]:
    decision = request.inputs.get("decision")
    if decision is not None and parameters.has_limits:
        raise InputError(f"stage {request.stage}: inputs.decision is given beside a limit; give one.")
    if decision is not None:
        return read_decision(decision, table)
    if not parameters.has_limits:
        raise InputError(f"stage {request.stage}: give a limit in parameters, or an earlier inputs.decision.")
    return by_limits(table, [limit for limit in limits(parameters) if (limit.lowest, limit.highest) != (None, None)])


def limits(p: CurationParameters) -> list[Limit]:
    """The limits of a stage, those that are not given included."""
    return [
        Limit("CTF resolution", ("rlnCtfMaxResolution",), " A", highest=p.worst_ctf_resolution_angstrom),
        Limit("CTF correlation", ("rlnCtfFigureOfMerit",), "", lowest=p.lowest_ctf_correlation),
        Limit("defocus", ("rlnDefocusU", "rlnDefocusV"), " A", p.lowest_defocus_angstrom, p.highest_defocus_angstrom),
        Limit("astigmatism", ("rlnCtfAstigmatism",), " A", highest=p.highest_astigmatism_angstrom),
        Limit("motion", ("rlnAccumMotionTotal",), " A", highest=p.highest_total_motion_angstrom),
    ]


if __name__ == "__main__":
    run_program(work)
