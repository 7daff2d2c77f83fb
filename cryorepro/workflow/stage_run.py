"""Carries one stage out: planned, announced in the journal, supervised, judged, its outputs bound to this run."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any, NoReturn

from cryorepro.em.errors import InputError
from cryorepro.model.stage import FailureClass, Progress, StageCommand, StageFailure, StageRequest, StageResult
from cryorepro.plugins.catalogue import Registered
from cryorepro.plugins.implementation import guarded, instantiate
from cryorepro.plugins.types import Runner
from cryorepro.workflow.attempt import Exit, last_sentence
from cryorepro.workflow.context import Context, Interrupted, classify
from cryorepro.workflow.files import describe
from cryorepro.workflow.lineage import check_outputs
from cryorepro.workflow.plan import PlannedStage, stage_seed
from cryorepro.workflow.timeline.stage import keep, watched_files

PROGRESS_SECONDS = 1.0


class StageRun:
    """The next attempt at one stage."""

    def __init__(self, context: Context, stage: PlannedStage, data: dict[str, Any]) -> None:
        self._context = context
        self._stage = stage
        self._number = context.history.stage_attempts.get(stage.name, 0) + 1
        self._registered: Registered[Runner] = context.catalogue.get(Runner, stage.runner)
        self._runner = instantiate(self._registered)
        self._directory = context.directory.stage(stage)
        self._attempt = context.directory.attempt(stage.name, self._number)
        self._inputs = self._find_inputs(data)
        self._watched = watched_files(data, self._inputs, context.directory.root)
        self._cold = context.plan.options.cache == "cold"
        self._started_at = context.history.first_started.get(stage.name, time.time())

    def run(self) -> None:
        """Run the stage to recorded outputs.

        Raises:
            Interrupted: asked to stop; the attempt is recorded as interrupted.
            StageFailure: recorded with its class and sentence.
        """
        if self._number == 1:
            # Never started yet: what a kill between making the directory and starting left is thrown away.
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory.mkdir(parents=True)
        request = self._request()
        command = self._plan(request)
        self._announce(request, command)
        finished = self._supervise(request, command)
        result = self._judge(request, finished)
        try:
            paths = check_outputs(self._directory, result, self._started_at, request.seed)
        except StageFailure as failure:
            self._fail(finished, failure.failure_class, failure.message)
        self._record_end(finished, "completed", None, None)
        self._record_outputs(result, paths)

    def _request(self) -> StageRequest:
        options = self._context.plan.options
        return StageRequest(
            stage=self._stage.name,
            kind=self._stage.spec.kind,
            parameters=self._stage.parameters,
            inputs={role: Path(entry["absolute"]) for role, entry in self._inputs.items()},
            output_dir=self._directory,
            seed=stage_seed(options.seed, self._stage.name),
            threads=options.threads,
            processes=options.processes,
            device=options.device,
            deterministic=options.deterministic,
            resume=self._number > 1,
        )

    def _plan(self, request: StageRequest) -> StageCommand:
        try:
            with guarded(self._registered, f"planning stage '{self._stage.name}'"):
                return self._runner.plan(request)
        except InputError as error:
            self._fail(None, "setup", str(error))

    def _announce(self, request: StageRequest, command: StageCommand) -> None:
        with guarded(self._registered, "reporting its version"):
            version = dict(self._runner.version())
        inputs = [{k: v for k, v in entry.items() if k != "absolute"} for entry in self._inputs.values()]
        event = {
            "stage": self._stage.name,
            "index": self._stage.index,
            "kind": self._stage.spec.kind,
            "runner": self._stage.runner,
            "program": version,
            "argv": command.argv,
            "environment": command.environment,
            "parameters": self._stage.parameters,
            "departures": list(self._stage.departures),
            "seed": request.seed,
            "threads": request.threads,
            "inputs": inputs,
        }
        self._context.journal.append("stage_planned", event)
        started = {"attempt": self._number, "resumed": request.resume, "started_at": self._started_at}
        self._context.journal.append("stage_started", {"stage": self._stage.name, **started})
        self._context.say("stage_started", attempt=self._number, of=len(self._context.plan.stages), **event)

    def _supervise(self, request: StageRequest, command: StageCommand) -> Exit:
        seen: list[Progress | None] = [None]
        looked = [0.0]

        def tick() -> None:
            self._context.watch.beat()
            if time.monotonic() - looked[0] < PROGRESS_SECONDS:
                return
            looked[0] = time.monotonic()
            with guarded(self._registered, "reporting progress"):
                progress = self._runner.progress(request)
            if progress is not None and progress != seen[0]:
                seen[0] = progress
                self._context.say("progress", stage=self._stage.name, **progress.model_dump())

        name, denied = self._stage.name, [self._context.home.truth]
        try:
            return self._context.supervise(name, command, self._attempt, denied, tick, self._watched, self._cold)
        except InputError as error:
            self._fail(None, "extraction", str(error))

    def _judge(self, request: StageRequest, finished: Exit) -> StageResult:
        if self._context.stopping and finished.exit_code != 0:
            self._record_end(finished, "interrupted", "preempted", "asked to stop")
            raise Interrupted
        if finished.exit_code != 0:
            self._fail(finished, *classify(finished, last_sentence(self._attempt), self._attempt))
        try:
            with guarded(self._registered, "checking its outputs"):
                return self._runner.collect(request, self._attempt / "log.txt")
        except StageFailure as failure:
            self._fail(finished, failure.failure_class, failure.message)
        except InputError as error:
            self._fail(finished, "extraction", str(error))

    def _fail(self, finished: Exit | None, failure: FailureClass, message: str) -> NoReturn:
        self._record_end(finished, "failed", failure, message)
        raise StageFailure(failure, f"stage '{self._stage.name}' ({self._stage.runner}): {message}")

    def _record_end(
        self, finished: Exit | None, status: str, failure: FailureClass | None, message: str | None
    ) -> None:
        usage = {} if finished is None else {k: v for k, v in vars(finished).items() if k != "stopped"}
        if finished is not None:
            root, wall = self._context.directory.root, finished.wall_seconds
            usage["timeline"] = keep(root, self._attempt, self._stage.name, self._number, wall, self._cold)
        event = {
            "stage": self._stage.name,
            "attempt": self._number,
            "status": status,
            "exit_code": None,
            **usage,
            "failure_class": failure,
            "message": message,
        }
        self._context.journal.append("stage_ended", event)
        self._context.say("stage_ended", runner=self._stage.runner, **event)

    def _record_outputs(self, result: StageResult, paths: dict[str, Path]) -> None:
        root = self._context.directory.root
        event = {
            "stage": self._stage.name,
            "outputs": [describe(role, path, root) for role, path in sorted(paths.items())],
            "iterations": result.iterations,
            "rows": result.rows,
            "seed": result.seed,
            "numbers": result.numbers,
            "notes": result.notes,
        }
        self._context.journal.append("stage_outputs", event)
        self._context.history.outputs[self._stage.name] = event

    def _find_inputs(self, data: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Each input with its hash and origin; paths of this run's own files are relative to it."""
        found: dict[str, dict[str, Any]] = {}
        outputs = self._context.history.outputs
        for role, source in self._stage.spec.inputs.items():
            origin, _, wanted = source.partition(".")
            entries = data["files"] if origin == "data" else outputs[origin]["outputs"]
            entry = next((dict(entry) for entry in entries if entry["role"] == wanted), None)
            if entry is None:
                message = f"stage '{self._stage.name}' needs {source}, which '{origin}' does not provide"
                raise StageFailure("setup", message)
            absolute = str(self._context.directory.root / entry["path"])
            from_stage = None if origin == "data" else origin
            found[role] = {**entry, "role": role, "from": source, "from_stage": from_stage, "absolute": absolute}
        return found
