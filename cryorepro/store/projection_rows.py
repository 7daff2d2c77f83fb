"""One event or item to one row, for the tables with many columns."""

from __future__ import annotations

from collections.abc import Iterator

from cryorepro.store.errors import JournalError
from cryorepro.store.event import Event
from cryorepro.store.payload import Cell, Payload

Row = dict[str, Cell]


def run_row(payload: Payload) -> Row:
    """What a run was asked to do."""
    row: Row = {column: payload.integer(column) for column in ("seed", "data_seed", "threads")}
    row["benchmark_version"] = payload.label("benchmark_version")
    for column in ("benchmark", "spec_sha256", "dataset", "tier", "device", "executor", "cryorepro_version"):
        row[column] = payload.text(column)
    row.update({column: payload.json(column) for column in ("tier_parameters", "command", "parameters")})
    return row


def artifact_row(item: Payload, stage: str, kind: str) -> Row:
    """A file that a stage wrote (kind ``output``) or that was there before the first (``data``, stage '')."""
    return {
        "stage": stage,
        "path": item.need("path"),
        "role": item.need("role"),
        "kind": kind,
        "sha256": item.need("sha256"),
        "size_bytes": item.integer("size_bytes"),
    }


def data_rows(seq: int, payload: Payload) -> Iterator[tuple[str, tuple[Cell, ...], Row]]:
    """Table, key and row of everything a ``data_prepared`` event says."""
    prepared: Row = {"seq": seq, "truth": payload.flag("truth")}
    prepared.update({column: payload.text(column) for column in ("dataset", "tier", "origin")})
    prepared.update({column: payload.json(column) for column in ("rows", "parameters")})
    yield "prepared_data", (seq,), prepared
    for position, item in enumerate(payload.items("errata")):
        erratum: Row = {"seq": seq, "position": position, "id": item.need("id"), "file": item.text("file")}
        erratum.update({column: item.label(column) for column in ("evidence", "action")})
        yield "errata_applied", (seq, position), erratum
    for item in payload.items("files"):
        row = artifact_row(item, "", "data")
        yield "artifacts", ("", row["path"], row["role"]), row


def stage_end_row(event: Event, payload: Payload, started: Row) -> Row:
    """How a stage attempt ended and what it used. Its own clock wins over the times of the events."""
    return {
        "status": payload.need("status"),
        "exit_code": payload.integer("exit_code"),
        "signal": payload.label("signal"),
        "failure_class": payload.text("failure_class"),
        "message": payload.text("message"),
        "started_at": payload.instant("started_at") or started["started_at"],
        "ended_at": payload.instant("ended_at") or event.time,
        "wall_seconds": payload.number("wall_seconds"),
        "cpu_seconds": payload.number("cpu_seconds"),
        "peak_memory_bytes": payload.integer("peak_memory_bytes"),
        "read_bytes": payload.integer("read_bytes"),
        "written_bytes": payload.integer("written_bytes"),
    }


def plan_row(payload: Payload) -> Row:
    """What a stage was planned to be; ``seed_given`` is what it was told, ``seed`` comes with its outputs."""
    row: Row = {"position": payload.integer("index"), "seed_given": payload.integer("seed")}
    row.update({column: payload.text(column) for column in ("kind", "runner")})
    columns = ("program", "argv", "environment", "parameters", "departures")
    row.update({column: payload.json(column) for column in columns})
    return row


def outputs_row(payload: Payload) -> Row:
    """What a stage was found to have done."""
    row: Row = {"seed": payload.integer("seed"), "iterations": payload.integer("iterations")}
    row.update({column: payload.json(column) for column in ("rows", "numbers", "notes")})
    return row


def outcome_row(payload: Payload) -> Row:
    """An outcome, whose ``value`` is a number or a mapping of number, unit, shell, box and pixel size.

    One that is unverifiable has no number (design, decision 5).

    Raises:
        JournalError: it has one all the same, or is measured and has none.
    """
    measured = payload.mapping("value") if isinstance(payload.data.get("value"), dict) else payload
    status, value = payload.choice("status", ("measured", "unverifiable")), measured.number("value")
    if (status == "measured") == (value is None):
        state = "measured and has no value" if value is None else "unverifiable and has a value"
        raise JournalError(f"{payload.where}: {payload.need('outcome')} is {state}")
    row: Row = {"outcome": payload.need("outcome"), "status": status, "value": value}
    row.update({column: payload.text(column) for column in ("metric", "reason", "stage")})
    row.update(unit=measured.text("unit"), shell=measured.integer("shell"), box_px=measured.integer("box_px"))
    row.update(pixel_size_angstrom=measured.number("pixel_size_angstrom"), details=measured.json("details"))
    return row


def outcome_digests(payload: Payload) -> list[str]:
    """SHA-256 of the artifacts an outcome was read from: a list, or the values of path to digest."""
    paths = payload.mapping("artifacts")
    return sorted({*payload.texts("artifact_sha256s"), *(paths.need(path) for path in paths.data)})


def verdict_row(payload: Payload) -> Row:
    """A verdict. A self-check has no claim; its key is then the empty text."""
    row: Row = {"outcome": payload.need("outcome"), "claim": payload.text("claim") or ""}
    for column in ("axis_outcome", "axis_performance", "axis_assurance", "reason", "margin_reason", "needs"):
        row[column] = payload.text(column)
    row["better_than_expected"] = payload.flag("better_than_expected")
    row.update({column: payload.json(column) for column in ("expected", "measured", "margin")})
    row["self_check"] = payload.flag("self_check")
    return row
