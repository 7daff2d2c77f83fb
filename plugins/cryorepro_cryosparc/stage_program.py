"""Carries one stage out on a CryoSPARC master:  python -m cryorepro_cryosparc.stage_program --request-json TEXT

Jobs are made, connected, queued and waited for; what they left is fetched. Each job is written into the stage's
record before it is queued, so that a stage that was interrupted goes on with the same jobs: those that ran on meanwhile
are collected, failed or killed ones are cleared and queued again. A stage that is stopped leaves its job to the master.

Exit codes: 0 done, 2 bad input, 127 no master, login or licence, 143 after SIGTERM, 1 a job that failed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

from cryosparc.controllers.job import JobController
from cryosparc.errors import APIError
from pydantic import ValidationError

from cryorepro.em.errors import InputError
from cryorepro.model.processing_stages import KNOWN_PARAMETERS
from cryorepro.model.stage import StageRequest
from cryorepro.store.files import write_atomically
from cryorepro_cryosparc.inputs import RECORD, Import, link_movies, sources
from cryorepro_cryosparc.interactive import decide
from cryorepro_cryosparc.master import Master, MasterError
from cryorepro_cryosparc.mongo import shown
from cryorepro_cryosparc.products import Collected, collect
from cryorepro_cryosparc.recipes import Recipe, job_parameters, not_passed_on, recipe_of
from cryorepro_cryosparc.settings import load_settings

FAILED, BAD_INPUT, NO_MASTER, TERMINATED = 1, 2, 127, 128 + signal.SIGTERM
_OVER = ("failed", "killed")


class JobFailed(Exception):
    """A job ended otherwise than completed."""


class Stage:
    """One stage: its record on disk and its jobs."""

    def __init__(self, master: Master, request: StageRequest, recipe: Recipe) -> None:
        self.master, self.request, self.recipe = master, request, recipe
        self.path = request.output_dir / RECORD
        self.record = self._read()

    def run(self) -> None:
        """To the end.

        Raises:
            InputError, MasterError, JobFailed: as their names say.
        """
        links: dict[str, tuple[str, str]] = {}
        for name, source in sources(self.request, self.recipe, self.master.settings.project).items():
            links[name] = self._imported(name, source) if isinstance(source, Import) else (source.job, source.output)
        parameters = job_parameters(self.recipe, self.request.parameters) | self._own_parameters()
        job = self._job("main", self.recipe.job_type, parameters, links)
        self._wait("main", job)
        self._collect(job)

    def _imported(self, name: str, source: Import) -> tuple[str, str]:
        if source.job_type == "import_movies":
            link_movies(self.request)
        job = self._job(f"import {name}", source.job_type, source.parameters, {})
        self._wait(f"import {name}", job)
        return job.uid, source.output

    def _own_parameters(self) -> dict[str, Any]:
        """The seed, and how many GPUs, where this job has such parameters."""
        wanted: dict[str, Any] = {}
        if self.recipe.seeded:
            wanted["random_seed"] = self.request.seed
        if self.recipe.gpu and self.master.settings.gpus_per_job is not None:
            wanted["compute_num_gpus"] = self.master.settings.gpus_per_job
        return {name: value for name, value in wanted.items() if self.master.knows(self.recipe.job_type, name)}

    def _job(
        self, key: str, job_type: str, parameters: dict[str, Any], links: dict[str, tuple[str, str]]
    ) -> JobController:
        """The job of this step: the one made before, or a new one, queued."""
        known = self.record["jobs"].get(key)
        if known is None:
            job = self.master.create(job_type, f"cryorepro {self.request.stage}", parameters, links)
            self.record["jobs"][key] = {"uid": job.uid, "type": job_type}
            self._write()
            say(f"{job.uid}: {job_type} made")
        else:
            job = self.master.find(known["uid"])
            if job.status in _OVER:
                say(f"{job.uid}: was {job.status}; cleared to run again")
                self.master.ask(job.clear)
        if job.status == "building":
            lane = self.master.settings.lane if self.recipe.gpu and not job_type.startswith("import_") else None
            self.master.ask(lambda: job.queue(lane))
        return job

    def _wait(self, key: str, job: JobController) -> None:
        """Until the job has completed."""
        last, asked, since = "", False, time.monotonic()
        while True:
            self.master.ask(job.refresh)
            status = job.status
            if status != last:
                say(f"{job.uid}: {status}")
                last, since = status, time.monotonic()
            if status == "completed":
                return
            if status in _OVER:
                raise JobFailed(f"{job.uid} ({self.record['jobs'][key]['type']}) {status}: {_why(job)}")
            if status == "waiting" and not asked:
                asked = True
                self._interact(job)
            self._check_licence(job, time.monotonic() - since)
            time.sleep(self.master.settings.poll_seconds)

    def _interact(self, job: JobController) -> None:
        decision = decide(job, self.recipe.job_type, self.request.parameters)
        if decision is None:
            say(f"{job.uid}: waits for a person at {self.master.settings.base_url}")
            return
        self.record["decision"] = decision
        self._write()

    def _check_licence(self, job: JobController, waited_s: float) -> None:
        queued = job.model.queue_status
        if queued == "waiting_licenses" and waited_s >= self.master.settings.licence_wait_seconds:
            said = shown(job.model.queue_message or "no licence is free", 200)
            raise MasterError(f"{job.uid} waited {waited_s:.0f} s for a licence: {said}")

    def _collect(self, job: JobController) -> None:
        into = Collected()
        for product in self.recipe.products:
            collect(self.master, job, product, self.request.output_dir, into)
        outputs = {product.role: product.output for product in self.recipe.products}
        defaults = _defaults(self.request.kind)
        left = not_passed_on(self.recipe, self.request.parameters, defaults)
        into.notes += [f"{name} has no counterpart in {self.recipe.job_type} and was not passed on" for name in left]
        model = job.model
        self.record |= {
            "version": self.master.version,
            "outputs": into.files,
            "rows": into.rows,
            "notes": into.notes,
            "files": {into.files[role]: [job.uid, output] for role, output in outputs.items() if role in into.files},
            "seed": getattr(model.spec.params, "random_seed", None) if self.recipe.seeded else None,
            "numbers": _numbers(model),
            "complete": True,
        }
        self._write()

    def _read(self) -> dict[str, Any]:
        settings = self.master.settings
        fresh = {"project": settings.project, "workspace": settings.workspace, "jobs": {}, "complete": False}
        if not self.request.resume or not self.path.is_file():
            return fresh
        found: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        if found.get("project") != settings.project:
            raise InputError(f"{self.path}: the stage began in project {found.get('project')}, not {settings.project}")
        return found

    def _write(self) -> None:
        text = json.dumps(self.record, indent=1, sort_keys=True)
        write_atomically(self.path, text.encode() + b"\n")


def _defaults(kind: str) -> dict[str, Any]:
    model = KNOWN_PARAMETERS.get(kind)
    return {} if model is None else {name: field.default for name, field in model.model_fields.items()}


def _numbers(model: Any) -> dict[str, float]:
    """How long the job took by CryoSPARC's own clock, and the resolution it reports."""
    numbers: dict[str, float] = {}
    if model.started_at and model.completed_at:
        numbers["cryosparc_seconds"] = (model.completed_at - model.started_at).total_seconds()
    if model.queued_at and model.started_at:
        numbers["cryosparc_queued_seconds"] = max((model.started_at - model.queued_at).total_seconds(), 0.0)
    for output in model.spec.outputs.root.values():
        best = output.latest_summary_stats.get("fsc_info_best")
        value = best.get("radwn_final_A") if isinstance(best, dict) else None
        if isinstance(value, int | float) and 0 < value < 1000:
            numbers["reported_resolution_angstrom"] = float(value)
    return numbers


def _why(job: JobController) -> str:
    errors = job.model.errors_run
    return shown(errors[-1].message, 300) if errors else "it gives no reason"


def say(text: str) -> None:
    """One line into the stage's log."""
    print(text, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run; returns the exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        request = _request(argv)
        recipe = recipe_of(request.kind, request.parameters)
        if recipe is None:
            raise InputError(f"stage {request.stage}: CryoSPARC has no step for this kind here")
        settings = load_settings()
        Stage(Master(settings), request, recipe).run()
    except InputError as error:
        return _end(error, BAD_INPUT)
    except MasterError as error:
        return _end(error, NO_MASTER if error.setup else FAILED)
    except JobFailed as error:
        return _end(error, FAILED)
    except APIError as error:  # an interactive call, which is not repeated
        return _end(f"the master refuses (status {error.code})", FAILED)
    return 0


def _end(error: object, code: int) -> int:
    print(error, file=sys.stderr, flush=True)
    return code


def _request(argv: Sequence[str] | None) -> StageRequest:
    parser = argparse.ArgumentParser(description="Carry out one stage on CryoSPARC.")
    parser.add_argument("--request-json", metavar="TEXT", required=True)
    try:
        return StageRequest.model_validate_json(parser.parse_args(argv).request_json)
    except ValidationError as error:
        raise InputError(f"--request-json: {error.errors()[0]['msg']}") from error


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    os._exit(TERMINATED)  # the record is on disk and the job is the master's


if __name__ == "__main__":
    sys.exit(main())
