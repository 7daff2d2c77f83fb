"""What the events of one run mean: rows for the tables of the index. Pure, so that a rebuild gives the same.

Later events replace earlier ones with the same key (a resumed run plans and measures again); the ``events``
table keeps them all. Types that are not known here stay in ``events`` only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cryorepro.store.errors import JournalError
from cryorepro.store.event import GENESIS, Event, canonical_json
from cryorepro.store.payload import Cell, Payload
from cryorepro.store.projection_rows import (
    artifact_row,
    data_rows,
    outcome_digests,
    outcome_row,
    outputs_row,
    plan_row,
    run_row,
    stage_end_row,
    verdict_row,
)
from cryorepro.store.schema import TABLES

Row = dict[str, Cell]
Rows = dict[str, list[Row]]
ENDS = ("completed", "failed", "interrupted")


def project(run_uid: str, events: Iterable[Event], sealed: bool) -> Rows:
    """The rows of a run whose chain has been verified.

    Raises:
        JournalError: an event does not say what its type must say.
    """
    projection = Projection(run_uid)
    for event in events:
        projection.take(event)
    return projection.rows(sealed)


def unverifiable(run_uid: str, reason: str) -> Rows:
    """The rows of a run whose journal cannot be believed: its name and why."""
    text = reason.encode("utf-8", "backslashreplace").decode("utf-8")
    row: Row = {"run_uid": run_uid, "status": "unverifiable", "reason": text, "sealed": 0}
    return {"runs": [{**row, "head_seq": 0, "head_sha256": GENESIS}]}


class Projection:
    """Takes the events of one run in order and keeps the rows they lead to, by table and key."""

    def __init__(self, run_uid: str) -> None:
        self.run_uid = run_uid
        self.run: Row = {"run_uid": run_uid, "status": "unfinished", "head_seq": 0, "head_sha256": GENESIS}
        self.tables: dict[str, dict[tuple[Cell, ...], Row]] = {name: {} for name in TABLES if name != "runs"}
        self.attempt: Row | None = None
        self.attempt_start_ns = 0
        self._handlers: dict[str, Callable[[Event, Payload], None]] = {
            "run_created": self._run_created,
            "run_reopened": self._run_continues,
            "run_ended": self._run_ended,
            "attempt_started": self._attempt_started,
            "attempt_ended": self._attempt_ended,
            "fingerprint_recorded": self._fingerprint_recorded,
            "data_prepared": self._data_prepared,
            "stage_planned": self._stage_planned,
            "stage_started": self._stage_started,
            "stage_ended": self._stage_ended,
            "stage_outputs": self._stage_outputs,
            "outcome_measured": self._outcome_measured,
            "verdict_given": self._verdict_given,
        }

    def take(self, event: Event) -> None:
        """Take the next event.

        Raises:
            JournalError: it does not say what its type must say.
        """
        data = canonical_json(event.data).decode("ascii")
        kind = event.type.encode("utf-8", "backslashreplace").decode("utf-8")
        self._put("events", (event.seq,), seq=event.seq, sha256=event.sha256, time=event.time, type=kind, data=data)
        self.run.update(head_seq=event.seq, head_sha256=event.sha256)
        if event.type in self._handlers:
            self._handlers[event.type](event, Payload.of(event))
        if self.attempt is not None:
            self.attempt["last_event_at"] = event.time
            self.attempt["observed_seconds"] = (event.monotonic_ns - self.attempt_start_ns) / 1e9

    def rows(self, sealed: bool) -> Rows:
        """All rows so far, tables in the order in which they may be inserted."""
        rows: Rows = {"runs": [{**self.run, "sealed": int(sealed)}]}
        rows.update({name: list(self.tables[name].values()) for name in TABLES if name != "runs"})
        return rows

    def _put(self, table: str, key: tuple[Cell, ...], **columns: Cell) -> Row:
        row: Row = {"run_uid": self.run_uid, **columns}
        self.tables[table][key] = row
        return row

    def _drop(self, table: str, column: str, value: Cell) -> None:
        kept = {key: row for key, row in self.tables[table].items() if row[column] != value}
        self.tables[table] = kept

    # --- the run and its attempts ---------------------------------------------------------------------------

    def _run_created(self, event: Event, payload: Payload) -> None:
        if payload.need("run_uid") != self.run_uid:
            raise JournalError(f"{payload.where} is of run {payload.need('run_uid')}, and stands in {self.run_uid}")
        self.run.update(run_row(payload), created_at=event.time)
        runners = payload.mapping("runners")
        for stage in sorted(runners.data):
            self._put("run_runners", (stage,), stage=stage, runner=runners.need(stage))
        for item in payload.items("plugins"):
            name, plugin = item.need("distribution"), item.text("plugin") or ""
            version = item.text("version")
            self._put("plugins", (name, plugin), distribution=name, plugin=plugin, version=version)

    def _run_continues(self, event: Event, payload: Payload) -> None:
        self.run.update(status="unfinished", ended_at=None, reason=None)

    def _run_ended(self, event: Event, payload: Payload) -> None:
        self.run.update(status=payload.choice("status", ENDS), ended_at=event.time)
        self.run.update(elapsed_seconds=payload.number("elapsed_seconds_all_attempts"))
        self.run.update(verdict=payload.json("verdict"), reason=payload.label("reason"))

    def _attempt_started(self, event: Event, payload: Payload) -> None:
        self._run_continues(event, payload)
        for table in ("attempts", "stage_attempts"):
            for row in self.tables[table].values():
                # Nothing was recorded of its end, and the run went on after it.
                row["status"] = "killed" if row["status"] == "unfinished" else row["status"]
        number = payload.integer("attempt")
        self.attempt_start_ns = event.monotonic_ns
        self.attempt = self._put(
            "attempts", (number,), attempt=number, pid=payload.integer("pid"), status="unfinished",
            host_hash=payload.text("host_hash"), boot_id=payload.text("boot_id"), started_at=event.time,
        )  # fmt: skip

    def _attempt_ended(self, event: Event, payload: Payload) -> None:
        row = self.tables["attempts"].get((payload.integer("attempt"),))
        if row is None:
            raise JournalError(f"{payload.where} ends an attempt that never started")
        row.update(status=payload.need("status"), ended_at=event.time, reason=payload.label("reason"))
        row.update(elapsed_seconds=payload.number("elapsed_seconds"))
        if row["status"] == "interrupted":
            self.run.update(status="interrupted", ended_at=event.time, reason=row["reason"])

    def _attempt_number(self) -> Cell:
        return None if self.attempt is None else self.attempt["attempt"]

    # --- machine and data -----------------------------------------------------------------------------------

    def _fingerprint_recorded(self, event: Event, payload: Payload) -> None:
        for probe in payload.items("probes"):
            self._put(
                "fingerprints", (event.seq, probe.need("name")), seq=event.seq, name=probe.need("name"),
                attempt=self._attempt_number(), plugin=probe.text("plugin"), seconds=probe.number("seconds"),
                status=probe.choice("status", ("ok", "failed")), error=probe.label("error"),
                data=probe.json("data"),
            )  # fmt: skip

    def _data_prepared(self, event: Event, payload: Payload) -> None:
        for table in ("prepared_data", "errata_applied"):
            self.tables[table].clear()
        self._drop("artifacts", "kind", "data")
        for table, key, row in data_rows(event.seq, payload):
            self._put(table, key, **row)

    # --- stages ---------------------------------------------------------------------------------------------

    def _stage(self, stage: str) -> Row:
        known = self.tables["stages"].get((stage,))
        return known or self._put("stages", (stage,), stage=stage, status="planned")

    def _stage_planned(self, event: Event, payload: Payload) -> None:
        stage = payload.need("stage")
        self._stage(stage).update(plan_row(payload))
        self._drop("lineage", "stage", stage)
        for item in payload.items("inputs"):
            role, path = item.need("role"), item.need("path")
            self._put(
                "lineage", (stage, role, path), stage=stage, role=role, path=path, sha256=item.text("sha256"),
                size_bytes=item.integer("size_bytes"), from_stage=item.text("from_stage"),
            )  # fmt: skip

    def _stage_started(self, event: Event, payload: Payload) -> None:
        stage = payload.need("stage")
        self._stage(stage)["status"] = "unfinished"
        self._stage_attempt(event, payload)

    def _stage_attempt(self, event: Event, payload: Payload) -> Row:
        stage = payload.need("stage")
        self._stage(stage)
        return self._put(
            "stage_attempts", (stage, event.seq), stage=stage, seq=event.seq, status="unfinished",
            attempt=payload.integer("attempt"), pid=payload.integer("pid"), resumed=payload.flag("resumed"),
            started_at=event.time,
        )  # fmt: skip

    def _stage_ended(self, event: Event, payload: Payload) -> None:
        stage = payload.need("stage")
        rows = [row for key, row in self.tables["stage_attempts"].items() if key[0] == stage]
        # One without a start failed before it could be started.
        started = bool(rows) and rows[-1]["status"] == "unfinished"
        row = rows[-1] if started else self._stage_attempt(event, payload)
        row.update(stage_end_row(event, payload, row))
        self._stage(stage)["status"] = payload.choice("status", ENDS)

    def _stage_outputs(self, event: Event, payload: Payload) -> None:
        stage = payload.need("stage")
        self._stage(stage).update(outputs_row(payload))
        self._drop("artifacts", "stage", stage)
        for item in payload.items("outputs"):
            row = artifact_row(item, stage, "output")
            self._put("artifacts", (stage, row["path"], row["role"]), **row)

    # --- results --------------------------------------------------------------------------------------------

    def _outcome_measured(self, event: Event, payload: Payload) -> None:
        outcome = payload.need("outcome")
        self._put("outcomes", (outcome,), **outcome_row(payload))
        self._drop("outcome_artifacts", "outcome", outcome)
        for digest in outcome_digests(payload):
            self._put("outcome_artifacts", (outcome, digest), outcome=outcome, sha256=digest)

    def _verdict_given(self, event: Event, payload: Payload) -> None:
        row = verdict_row(payload)
        self._put("verdicts", (row["outcome"], row["claim"]), **row)
