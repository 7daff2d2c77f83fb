"""Carries a plan out: data, fingerprint, stages, outcomes; every step is in the journal before the next begins."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryorepro.em.errors import InputError
from cryorepro.model.dataset import DataRequest
from cryorepro.model.stage import FailureClass, Progress, StageCommand, StageFailure, StageRequest, StageResult
from cryorepro.plugins.catalogue import Catalogue
from cryorepro.plugins.implementation import guarded, instantiate
from cryorepro.plugins.interfaces import StageRunner
from cryorepro.plugins.types import Executor, Runner
from cryorepro.store.home import Home
from cryorepro.store.journal import Journal
from cryorepro.workflow.attempt import Exit, last_sentence, run_attempt
from cryorepro.workflow.elapsed import Stopwatch
from cryorepro.workflow.files import describe, read_json, sha256_of, write_json
from cryorepro.workflow.fingerprint import take_fingerprint
from cryorepro.workflow.history import History
from cryorepro.workflow.lineage import check_outputs
from cryorepro.workflow.plan import PlannedStage, RunPlan, stage_seed
from cryorepro.workflow.rundir import RunDirectory

Listener = Callable[[str, dict[str, Any]], None]
PROGRESS_SECONDS = 1.0


class Interrupted(Exception):
    """The person, or the system, asked the run to stop; it can be resumed."""


class Execution:
    """One attempt at a run. ``stop`` may be called from a signal handler."""

    def __init__(
        self,
        home: Home,
        catalogue: Catalogue,
        plan: RunPlan,
        directory: RunDirectory,
        journal: Journal,
        history: History,
        listener: Listener,
    ) -> None:
        self._home = home
        self._catalogue = catalogue
        self._plan = plan
        self._directory = directory
        self._journal = journal
        self._history = history
        self._listener = listener
        self._watch = Stopwatch(directory.heartbeat, history.attempts)
        self._executor = instantiate(catalogue.get(Executor, plan.options.executor))
        self._stopping = False

    def stop(self) -> None:
        """Ask the attempt to end; the stage is given time to leave a complete iteration."""
        self._stopping = True

    @property
    def elapsed_seconds(self) -> float:
        """Time of this attempt and all earlier ones."""
        return self._history.elapsed_seconds + self._watch.seconds

    @property
    def attempt_seconds(self) -> float:
        """Time of this attempt."""
        return self._watch.seconds

    def run(self) -> None:
        """Do everything that the journal does not show as done.

        Raises:
            Interrupted: asked to stop; resumable.
            StageFailure: a stage failed; its class and sentence are in the journal.
            StoreError: the run can no longer be recorded.
        """
        self._directory.root.joinpath("attempts").mkdir(exist_ok=True)
        self._watch.beat()
        data = self._prepare_data()
        self._take_fingerprint()
        for stage in self._plan.stages:
            if stage.name in self._history.outputs:
                self._check_done(stage)
            else:
                self._run_stage(stage, data)
        self._measure(data)

    # -- data and machine ---------------------------------------------------------------------------------

    def _prepare_data(self) -> dict[str, Any]:
        benchmark, options = self._plan.benchmark, self._plan.options
        parameters = {**benchmark.tiers[options.tier].parameters, **options.data_parameters}
        request = DataRequest(
            tier=options.tier,
            directory=self._home.data,
            truth_directory=self._home.truth,
            seed=options.data_seed,
            local_path=options.data_path,
            parameters=parameters,
        )
        self._say("preparing_data", dataset=benchmark.dataset, tier=options.tier)
        job = {"dataset": benchmark.dataset, "request": request.model_dump(mode="json")}
        content = self._helper("prepare", job)
        if not content["ok"]:
            raise StageFailure("data", content["error"])
        self._check_same_data(content)
        event = {
            "dataset": benchmark.dataset,
            "tier": options.tier,
            "files": content["files"],
            "rows": content["prepared"]["rows"],
            "errata": content["prepared"]["errata"],
            "origin": content["prepared"]["origin"],
            "parameters": content["prepared"]["parameters"],
            "truth": bool(content["truth"]),
        }
        if self._history.data is None:
            self._journal.append("data_prepared", event)
        self._say("data_prepared", **event)
        return dict(content)

    def _check_same_data(self, content: dict[str, Any]) -> None:
        if self._history.data is None:
            return
        before = {entry["role"]: entry["sha256"] for entry in self._history.data["files"]}
        now = {entry["role"]: entry["sha256"] for entry in content["files"]}
        changed = sorted(role for role in before.keys() | now.keys() if before.get(role) != now.get(role))
        if changed:
            raise StageFailure("data", f"input '{changed[0]}' is not what this run began with; start a new run")

    def _take_fingerprint(self) -> None:
        if self._history.fingerprint is not None:
            return
        roles = {"input": self._home.data, "scratch": self._directory.root, "output": self._directory.root}
        if self._plan.options.data_path is not None:
            roles["input"] = self._plan.options.data_path
        probes = [probe.model_dump(mode="json") for probe in take_fingerprint(self._catalogue, roles)]
        self._journal.append("fingerprint_recorded", {"probes": probes})
        self._say("fingerprint_recorded", probes=probes)

    # -- stages -------------------------------------------------------------------------------------------

    def _run_stage(self, stage: PlannedStage, data: dict[str, Any]) -> None:
        number = self._history.stage_attempts.get(stage.name, 0) + 1
        runner = self._runner(stage)
        inputs = self._inputs(stage, data)
        directory = self._directory.stage(stage)
        if number == 1:
            directory.mkdir(parents=True)
        request = StageRequest(
            stage=stage.name,
            kind=stage.spec.kind,
            parameters=stage.parameters,
            inputs={role: Path(entry["absolute"]) for role, entry in inputs.items()},
            output_dir=directory,
            seed=stage_seed(self._plan.options.seed, stage.name),
            threads=self._plan.options.threads,
            device=self._plan.options.device,
            deterministic=self._plan.options.deterministic,
            resume=number > 1,
        )
        started_at = self._history.first_started.get(stage.name, time.time())
        try:
            command = self._plan_command(stage, runner, request)
            self._announce(stage, number, command, inputs, request, started_at)
            finished = self._supervise(stage, runner, request, command, number)
        except InputError as error:
            self._fail(stage, number, None, "setup", str(error))
        result = self._judge_exit(stage, number, runner, request, finished)
        try:
            paths = check_outputs(directory, result, started_at, request.seed)
        except StageFailure as failure:
            self._fail(stage, number, finished, failure.failure_class, failure.message)
        self._record_stage_end(stage, number, finished, "completed", None, None)
        outputs = [describe(role, path, self._directory.root) for role, path in sorted(paths.items())]
        event = {
            "stage": stage.name,
            "outputs": outputs,
            "iterations": result.iterations,
            "rows": result.rows,
            "seed": result.seed,
            "numbers": result.numbers,
            "notes": result.notes,
        }
        self._journal.append("stage_outputs", event)
        self._history.outputs[stage.name] = event

    def _plan_command(self, stage: PlannedStage, runner: StageRunner, request: StageRequest) -> StageCommand:
        with guarded(self._catalogue.get(Runner, stage.runner), f"planning stage '{stage.name}'"):
            return runner.plan(request)

    def _announce(
        self,
        stage: PlannedStage,
        number: int,
        command: StageCommand,
        inputs: dict[str, dict[str, Any]],
        request: StageRequest,
        started_at: float,
    ) -> None:
        runner = self._runner(stage)
        with guarded(self._catalogue.get(Runner, stage.runner), "reporting its version"):
            version = dict(runner.version())
        recorded = [{k: v for k, v in entry.items() if k != "absolute"} for entry in inputs.values()]
        event = {
            "stage": stage.name,
            "index": stage.index,
            "kind": stage.spec.kind,
            "runner": stage.runner,
            "program": version,
            "argv": command.argv,
            "environment": command.environment,
            "parameters": stage.parameters,
            "departures": list(stage.departures),
            "seed": request.seed,
            "threads": request.threads,
            "inputs": recorded,
        }
        self._journal.append("stage_planned", event)
        self._journal.append(
            "stage_started",
            {"stage": stage.name, "attempt": number, "resumed": request.resume, "started_at": started_at},
        )
        self._say("stage_started", attempt=number, of=len(self._plan.stages), **event)

    def _supervise(
        self, stage: PlannedStage, runner: StageRunner, request: StageRequest, command: StageCommand, number: int
    ) -> Exit:
        seen: list[Progress | None] = [None]
        looked = [0.0]

        def tick() -> None:
            self._watch.beat()
            if time.monotonic() - looked[0] < PROGRESS_SECONDS:
                return
            looked[0] = time.monotonic()
            with guarded(self._catalogue.get(Runner, stage.runner), "reporting progress"):
                progress = runner.progress(request)
            if progress is not None and progress != seen[0]:
                seen[0] = progress
                self._say("progress", stage=stage.name, **progress.model_dump())

        return run_attempt(
            self._executor,
            command,
            self._directory.attempt(stage.name, number),
            self._directory.lock(stage.name),
            [self._home.truth],
            lambda: self._stopping,
            tick,
        )

    def _judge_exit(
        self, stage: PlannedStage, number: int, runner: StageRunner, request: StageRequest, finished: Exit
    ) -> StageResult:
        directory = self._directory.attempt(stage.name, number)
        if self._stopping and finished.exit_code != 0:
            self._record_stage_end(stage, number, finished, "interrupted", "preempted", "asked to stop")
            raise Interrupted
        if finished.exit_code != 0:
            self._fail(stage, number, finished, *_classify(finished, last_sentence(directory)))
        try:
            with guarded(self._catalogue.get(Runner, stage.runner), "checking its outputs"):
                return runner.collect(request, directory / "log.txt")
        except StageFailure as failure:
            self._fail(stage, number, finished, failure.failure_class, failure.message)
        except InputError as error:
            self._fail(stage, number, finished, "extraction", str(error))

    def _fail(
        self, stage: PlannedStage, number: int, finished: Exit | None, failure: FailureClass, message: str
    ) -> Any:
        self._record_stage_end(stage, number, finished, "failed", failure, message)
        raise StageFailure(failure, f"stage '{stage.name}' ({stage.runner}): {message}")

    def _record_stage_end(
        self,
        stage: PlannedStage,
        number: int,
        finished: Exit | None,
        status: str,
        failure: FailureClass | None,
        message: str | None,
    ) -> None:
        usage = {} if finished is None else {k: v for k, v in vars(finished).items() if k != "stopped"}
        event = {
            "stage": stage.name,
            "attempt": number,
            "status": status,
            "exit_code": None,
            **usage,
            "failure_class": failure,
            "message": message,
        }
        self._journal.append("stage_ended", event)
        self._say("stage_ended", runner=stage.runner, **event)

    def _inputs(self, stage: PlannedStage, data: dict[str, Any]) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for role, source in stage.spec.inputs.items():
            origin, _, wanted = source.partition(".")
            entries = data["files"] if origin == "data" else self._history.outputs[origin]["outputs"]
            matches = [entry for entry in entries if entry["role"] == wanted]
            if not matches:
                raise StageFailure("setup", f"stage '{stage.name}' needs {source}, which '{origin}' does not provide")
            entry = dict(matches[0])
            entry["absolute"] = str(self._directory.root / entry["path"])
            found[role] = {**entry, "role": role, "from_stage": None if origin == "data" else origin, "from": source}
        return found

    def _check_done(self, stage: PlannedStage) -> None:
        for entry in self._history.outputs[stage.name]["outputs"]:
            path = self._directory.root / entry["path"]
            if not path.is_file() or sha256_of(path) != entry["sha256"]:
                message = f"stage '{stage.name}': output '{entry['role']}' changed since it was recorded"
                raise StageFailure("incomplete-output", f"{message}; start a new run")
        self._say("stage_skipped", stage=stage.name)

    # -- outcomes -----------------------------------------------------------------------------------------

    def _measure(self, data: dict[str, Any]) -> None:
        done = {outcome["outcome"] for outcome in self._history.outcomes}
        tier = self._plan.options.tier
        wanted = [spec for spec in self._plan.benchmark.outcomes if spec.name not in done and tier in spec.tiers]
        if not wanted:
            return
        self._say("measuring", outcomes=[spec.name for spec in wanted])
        stages = {
            stage.name: {**self._history.outputs[stage.name], "parameters": stage.parameters}
            for stage in self._plan.stages
        }
        job = {
            "run": str(self._directory.root),
            "outcomes": [spec.model_dump(mode="json") for spec in wanted],
            "stages": stages,
            "data": data,
        }
        for outcome in self._helper("measure", job):
            event = {"outcome": outcome.pop("name"), **outcome}
            self._journal.append("outcome_measured", event)
            self._history.outcomes.append(event)
            self._say("outcome_measured", **event)

    # -- common -------------------------------------------------------------------------------------------

    def _helper(self, module: str, job: dict[str, Any]) -> Any:
        """Run one of this package's own heavy steps as a supervised process and read its result."""
        attempts = self._directory.root / "attempts"
        number = 1 + sum(1 for _ in attempts.glob(f"{module}-*/attempt.json"))
        directory = self._directory.attempt(module, number)
        directory.mkdir()
        result = directory / "result.json"
        write_json(directory / "job.json", {**job, "result": str(result)})
        command = StageCommand(
            argv=[sys.executable, "-m", f"cryorepro.workflow.{module}", str(directory / "job.json")],
            environment={"OMP_NUM_THREADS": str(self._plan.options.threads)},
            cwd=directory,
        )
        finished = run_attempt(
            self._executor,
            command,
            directory,
            self._directory.lock(module),
            [],
            lambda: self._stopping,
            self._watch.beat,
        )
        if self._stopping and finished.exit_code != 0:
            raise Interrupted
        if not result.is_file():
            raise StageFailure(*_classify(finished, f"{module}: {last_sentence(directory)}"))
        return read_json(result)

    def _runner(self, stage: PlannedStage) -> StageRunner:
        return instantiate(self._catalogue.get(Runner, stage.runner))

    def _say(self, kind: str, /, **content: Any) -> None:
        self._listener(kind, content)


def _classify(finished: Exit, sentence: str) -> tuple[FailureClass, str]:
    """What kind of failure an exit is: signals are the machine's doing, exit code 2 is the input's."""
    if finished.signal == 9:
        return "resource", f"killed by signal 9 (out of memory, or by hand); last words: {sentence}"
    if finished.signal is not None:
        return "runtime", f"ended by signal {finished.signal}; last words: {sentence}"
    if finished.exit_code == 2:
        return "data", sentence
    if finished.exit_code == 127:
        return "setup", sentence
    if "No space left" in sentence:
        return "resource", sentence
    return "runtime", f"exit code {finished.exit_code}: {sentence}"
