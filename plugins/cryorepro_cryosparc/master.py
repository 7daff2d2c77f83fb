"""A CryoSPARC master through cryosparc-tools: one connection, and every refusal as a sentence without secrets."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import httpx
from cryosparc.controllers.job import JobController
from cryosparc.errors import APIError
from cryosparc.tools import CryoSPARC

from cryorepro.em.errors import InputError
from cryorepro_cryosparc.mongo import shown
from cryorepro_cryosparc.settings import Settings

T = TypeVar("T")
_TIMEOUT_S = 60
_FIRST_SERVER_ERROR = 500
_LOGIN = (401, 403)
LICENCE = "licen"


class MasterError(Exception):
    """The master cannot be reached, or refused; ``setup`` when that is not the job's fault."""

    def __init__(self, message: str, setup: bool = True) -> None:
        super().__init__(message)
        self.setup = setup


class Master:
    """A connection that waits out an unreachable master for as long as its settings say."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client = _connect(settings)
        self._specs = {spec.type: spec for spec in self.ask(lambda: self.client.job_register).specs}

    @property
    def version(self) -> str:
        """CryoSPARC's own version."""
        return shown(self.ask(self.client.api.config.get_version), 60)

    def ask(self, call: Callable[[], T]) -> T:
        """``call()``, again while the master cannot be reached.

        Raises:
            MasterError: it stays away, or refuses.
        """
        deadline = time.monotonic() + self.settings.patience_seconds
        while True:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # each retry of the client's own is a warning
                    return call()
            except httpx.TransportError as error:
                if time.monotonic() > deadline:
                    raise MasterError(f"the master at {self.settings.base_url} does not answer ({error})") from error
            except APIError as error:
                if error.code < _FIRST_SERVER_ERROR or time.monotonic() > deadline:
                    raise _refusal(error) from error
            time.sleep(self.settings.poll_seconds)

    def check(self, job_type: str, inputs: list[str], parameters: dict[str, Any]) -> None:
        """Hold a job's names against what this master knows.

        Raises:
            InputError: the job's type, an input or a parameter is unknown to it.
        """
        spec = self._specs.get(job_type)
        if spec is None:
            raise InputError(f"this CryoSPARC ({self.version}) has no job of the type {job_type}")
        for word, names, known in (("input", inputs, spec.inputs.root), ("parameter", list(parameters), spec.params)):
            lost = [name for name in names if name not in known]
            if lost:
                raise InputError(f"this CryoSPARC ({self.version}): {job_type} has no {word} {lost[0]}")

    def knows(self, job_type: str, parameter: str) -> bool:
        """Whether a job has a parameter."""
        return job_type in self._specs and parameter in self._specs[job_type].params

    def create(
        self, job_type: str, title: str, parameters: dict[str, Any], links: dict[str, tuple[str, str]]
    ) -> JobController:
        """A new job in the configured workspace, checked first.

        Raises:
            InputError: a name is unknown to this master.
            MasterError: the master refuses.
        """
        self.check(job_type, list(links), parameters)
        place = (self.settings.project, self.settings.workspace)
        return self.ask(
            lambda: self.client.create_job(*place, job_type, connections=links, params=parameters, title=title)
        )

    def find(self, uid: str) -> JobController:
        """A job that was made before."""
        return self.ask(lambda: self.client.find_job(self.settings.project, uid))


def _connect(settings: Settings) -> CryoSPARC:
    given = {name: getattr(settings, name) for name in ("password", "license_id")}
    secrets = {name: value.get_secret_value() for name, value in given.items() if value is not None}
    deadline = time.monotonic() + settings.patience_seconds
    while True:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return CryoSPARC(
                    settings.base_url, host=None, base_port=None, email=settings.email,
                    password=secrets.get("password"), license=secrets.get("license_id"), timeout=_TIMEOUT_S,
                )  # fmt: skip
        except ValueError as error:  # no way to log in was given, or the session has ended
            raise MasterError(
                f"no login for {settings.base_url}: give email and password, or run python -m cryosparc.tools login"
            ) from error
        except RuntimeError as error:
            cause = error.__cause__
            if isinstance(cause, APIError):
                raise _refusal(cause) from error
            if not isinstance(cause, httpx.TransportError) or time.monotonic() > deadline:
                raise MasterError(f"no CryoSPARC answers at {settings.base_url} ({_reason(cause)})") from error
        time.sleep(settings.poll_seconds)


def _reason(cause: BaseException | None) -> str:
    return shown(f"{type(cause).__name__}: {cause}", 200)


def _refusal(error: APIError) -> MasterError:
    """What the master said, without the address that was asked."""
    said = error.data.get("detail", error.data) if isinstance(error.data, dict) else error.data
    text = shown(said or f"status {error.code}", 300)
    if error.code in _LOGIN and LICENCE not in text.lower():
        return MasterError(f"the master refuses the login: {text}")
    return MasterError(f"the master refuses: {text}", setup=LICENCE in text.lower())
