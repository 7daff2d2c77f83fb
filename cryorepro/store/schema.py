"""The tables and views of the index. Every row belongs to a run and has a key that journals give it.

No table holds a row number, a time of ingest or anything else that a rebuild could not bring back, but
``journals``: what the index has seen of each journal, which decides whether it must be read again.
"""

from __future__ import annotations

APPLICATION_ID = 0x43525250
"""``CRRP`` in the file header: tells a cryorepro index from any other SQLite file."""

_RUN = "run_uid TEXT NOT NULL REFERENCES runs(run_uid) ON DELETE CASCADE"


def _json(column: str) -> str:
    return f"{column} TEXT CHECK ({column} IS NULL OR json_valid({column}))"


TABLES: dict[str, tuple[str, ...]] = {
    "runs": (
        "run_uid TEXT PRIMARY KEY",
        "benchmark TEXT",
        "benchmark_version TEXT",
        "spec_sha256 TEXT",
        "dataset TEXT",
        "tier TEXT",
        _json("tier_parameters"),
        "seed INTEGER",
        "data_seed INTEGER",
        "threads INTEGER",
        "device TEXT",
        "executor TEXT",
        _json("command"),
        _json("parameters"),
        "cryorepro_version TEXT",
        "created_at TEXT",
        "status TEXT NOT NULL CHECK (status IN ('unfinished', 'completed', 'failed', 'interrupted', 'unverifiable'))",
        "reason TEXT",
        "ended_at TEXT",
        "elapsed_seconds REAL",
        _json("verdict"),
        "sealed INTEGER NOT NULL CHECK (sealed IN (0, 1))",
        "head_seq INTEGER NOT NULL",
        "head_sha256 TEXT NOT NULL",
    ),
    "events": (
        _RUN,
        "seq INTEGER NOT NULL CHECK (seq > 0)",
        "sha256 TEXT NOT NULL CHECK (length(sha256) = 64)",
        "time TEXT NOT NULL",
        "type TEXT NOT NULL",
        "data TEXT NOT NULL CHECK (json_valid(data))",
        "PRIMARY KEY (run_uid, seq)",
        "UNIQUE (run_uid, sha256)",
    ),
    "run_runners": (_RUN, "stage TEXT NOT NULL", "runner TEXT NOT NULL", "PRIMARY KEY (run_uid, stage)"),
    "plugins": (
        _RUN,
        "distribution TEXT NOT NULL",
        "plugin TEXT NOT NULL",
        "version TEXT",
        "PRIMARY KEY (run_uid, distribution, plugin)",
    ),
    "attempts": (
        _RUN,
        "attempt INTEGER NOT NULL",
        "pid INTEGER",
        "host_hash TEXT",
        "boot_id TEXT",
        "started_at TEXT",
        "last_event_at TEXT",
        "ended_at TEXT",
        "status TEXT NOT NULL",
        "reason TEXT",
        "elapsed_seconds REAL",
        "observed_seconds REAL",
        "PRIMARY KEY (run_uid, attempt)",
    ),
    "fingerprints": (
        _RUN,
        "seq INTEGER NOT NULL",
        "name TEXT NOT NULL",
        "attempt INTEGER",
        "plugin TEXT",
        "status TEXT NOT NULL CHECK (status IN ('ok', 'failed'))",
        "seconds REAL",
        "error TEXT",
        _json("data"),
        "PRIMARY KEY (run_uid, seq, name)",
    ),
    "prepared_data": (
        _RUN,
        "seq INTEGER NOT NULL",
        "dataset TEXT",
        "tier TEXT",
        "origin TEXT",
        _json("rows"),
        _json("parameters"),
        "truth INTEGER CHECK (truth IN (0, 1))",
        "PRIMARY KEY (run_uid, seq)",
    ),
    "errata_applied": (
        _RUN,
        "seq INTEGER NOT NULL",
        "position INTEGER NOT NULL",
        "id TEXT NOT NULL",
        "file TEXT",
        "evidence TEXT",
        "action TEXT",
        "PRIMARY KEY (run_uid, seq, position)",
    ),
    "stages": (
        _RUN,
        "stage TEXT NOT NULL",
        "position INTEGER",
        "kind TEXT",
        "runner TEXT",
        _json("program"),
        _json("argv"),
        _json("environment"),
        _json("parameters"),
        _json("departures"),
        "status TEXT NOT NULL CHECK (status IN ('planned', 'unfinished', 'completed', 'failed', 'interrupted'))",
        "seed_given INTEGER",
        "seed INTEGER",
        "iterations INTEGER",
        _json("rows"),
        _json("numbers"),
        _json("notes"),
        "PRIMARY KEY (run_uid, stage)",
    ),
    "stage_attempts": (
        _RUN,
        "stage TEXT NOT NULL",
        "seq INTEGER NOT NULL",
        "attempt INTEGER",
        "pid INTEGER",
        "resumed INTEGER CHECK (resumed IN (0, 1))",
        "status TEXT NOT NULL",
        "exit_code INTEGER",
        "signal TEXT",
        "failure_class TEXT",
        "message TEXT",
        "started_at TEXT",
        "ended_at TEXT",
        "wall_seconds REAL",
        "cpu_seconds REAL",
        "peak_memory_bytes INTEGER",
        "read_bytes INTEGER",
        "written_bytes INTEGER",
        "PRIMARY KEY (run_uid, stage, seq)",
        "FOREIGN KEY (run_uid, stage) REFERENCES stages(run_uid, stage) ON DELETE CASCADE",
    ),
    "artifacts": (
        _RUN,
        "stage TEXT NOT NULL",
        "path TEXT NOT NULL",
        "role TEXT NOT NULL",
        "kind TEXT NOT NULL CHECK (kind IN ('data', 'output'))",
        "sha256 TEXT NOT NULL",
        "size_bytes INTEGER",
        "PRIMARY KEY (run_uid, stage, path, role)",
    ),
    "lineage": (
        _RUN,
        "stage TEXT NOT NULL",
        "role TEXT NOT NULL",
        "path TEXT NOT NULL",
        "sha256 TEXT",
        "size_bytes INTEGER",
        "from_stage TEXT",
        "PRIMARY KEY (run_uid, stage, role, path)",
        "FOREIGN KEY (run_uid, stage) REFERENCES stages(run_uid, stage) ON DELETE CASCADE",
    ),
    "outcomes": (
        _RUN,
        "outcome TEXT NOT NULL",
        "metric TEXT",
        "status TEXT NOT NULL CHECK (status IN ('measured', 'unverifiable'))",
        "value REAL",
        "unit TEXT",
        "shell INTEGER",
        "box_px INTEGER",
        "pixel_size_angstrom REAL",
        "reason TEXT",
        "stage TEXT",
        _json("details"),
        "PRIMARY KEY (run_uid, outcome)",
        "CHECK (status = 'measured' OR value IS NULL)",
    ),
    "outcome_artifacts": (
        _RUN,
        "outcome TEXT NOT NULL",
        "sha256 TEXT NOT NULL",
        "PRIMARY KEY (run_uid, outcome, sha256)",
        "FOREIGN KEY (run_uid, outcome) REFERENCES outcomes(run_uid, outcome) ON DELETE CASCADE",
    ),
    "verdicts": (
        _RUN,
        "outcome TEXT NOT NULL",
        "claim TEXT NOT NULL",
        "axis_outcome TEXT",
        "axis_performance TEXT",
        "axis_assurance TEXT",
        "reason TEXT",
        _json("expected"),
        _json("measured"),
        _json("margin"),
        "margin_reason TEXT",
        "better_than_expected INTEGER CHECK (better_than_expected IN (0, 1))",
        "needs TEXT",
        "self_check INTEGER CHECK (self_check IN (0, 1))",
        "PRIMARY KEY (run_uid, outcome, claim)",
    ),
}
"""The tables whose content is what the journals say, in an order that satisfies their references."""

JOURNALS = (
    "run_uid TEXT PRIMARY KEY",
    "head_seq INTEGER NOT NULL",
    "head_sha256 TEXT NOT NULL",
    "stamp TEXT NOT NULL",
)
"""``stamp`` tells whether the files have changed since; the head is the furthest ever seen of the journal."""

INDEXES = (
    "CREATE INDEX events_by_type ON events (type, run_uid)",
    "CREATE INDEX artifacts_by_sha256 ON artifacts (sha256)",
    "CREATE INDEX lineage_by_sha256 ON lineage (sha256)",
    "CREATE INDEX runs_by_benchmark ON runs (benchmark, created_at)",
)

VIEWS: dict[str, str] = {
    "resources": """
        SELECT run_uid, stage, count(*) AS times_started, sum(wall_seconds) AS wall_seconds,
               sum(cpu_seconds) AS cpu_seconds, max(peak_memory_bytes) AS peak_memory_bytes,
               sum(read_bytes) AS read_bytes, sum(written_bytes) AS written_bytes
        FROM stage_attempts GROUP BY run_uid, stage""",
    "lineage_checked": """
        SELECT lineage.*, EXISTS (
            SELECT 1 FROM artifacts WHERE artifacts.run_uid = lineage.run_uid
               AND artifacts.stage = coalesce(lineage.from_stage, '') AND artifacts.sha256 = lineage.sha256
        ) AS bound FROM lineage""",
    "outcomes_checked": """
        SELECT outcomes.*, (
            EXISTS (SELECT 1 FROM outcome_artifacts AS used
                    WHERE used.run_uid = outcomes.run_uid AND used.outcome = outcomes.outcome)
            AND NOT EXISTS (
                SELECT 1 FROM outcome_artifacts AS used
                WHERE used.run_uid = outcomes.run_uid AND used.outcome = outcomes.outcome AND NOT EXISTS (
                    SELECT 1 FROM artifacts JOIN stages USING (run_uid, stage)
                    WHERE artifacts.run_uid = used.run_uid AND artifacts.sha256 = used.sha256
                      AND artifacts.kind = 'output' AND stages.status = 'completed'))
        ) AS bound FROM outcomes""",
    "runs_overview": """
        SELECT runs.run_uid, benchmark, dataset, tier, seed, status, reason, created_at, ended_at,
               elapsed_seconds, verdict, sealed, cryorepro_version,
               (SELECT json_group_object(stage, runner) FROM
                  (SELECT stage, runner FROM run_runners AS used WHERE used.run_uid = runs.run_uid
                   ORDER BY stage)) AS runners,
               (SELECT count(*) FROM attempts WHERE attempts.run_uid = runs.run_uid) AS attempts,
               (SELECT count(*) FROM stages WHERE stages.run_uid = runs.run_uid) AS stages_planned,
               (SELECT count(*) FROM stages WHERE stages.run_uid = runs.run_uid
                  AND stages.status = 'completed') AS stages_completed,
               (SELECT count(*) FROM outcomes WHERE outcomes.run_uid = runs.run_uid
                  AND outcomes.status = 'measured') AS outcomes_measured,
               (SELECT count(*) FROM outcomes WHERE outcomes.run_uid = runs.run_uid
                  AND outcomes.status = 'unverifiable') AS outcomes_unverifiable
        FROM runs""",
    "failed_probes": "SELECT run_uid, attempt, name, plugin, error FROM fingerprints WHERE status = 'failed'",
    "commands": "SELECT run_uid, position, stage, runner, argv, seed FROM stages",
}


def create_statements() -> list[str]:
    """Every statement that makes an empty index of the current version, in order."""
    tables = {**TABLES, "journals": JOURNALS}
    made = [f"CREATE TABLE {name} (\n  " + ",\n  ".join(parts) + "\n) STRICT" for name, parts in tables.items()]
    return [*made, *INDEXES, *(f"CREATE VIEW {name} AS {query}" for name, query in VIEWS.items())]
