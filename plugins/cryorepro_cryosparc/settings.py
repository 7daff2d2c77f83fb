"""Where the CryoSPARC master is and how to log in: a YAML file of the person's own, never part of a run."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pydantic import Field, SecretStr, model_validator

from cryorepro.em.errors import InputError
from cryorepro.model.base import Record
from cryorepro.model.strict_yaml import load_record

VARIABLE = "CRYOREPRO_CRYOSPARC_CONFIG"
DEFAULT = "~/.config/cryorepro/cryosparc.yaml"
_SHARED = stat.S_IRWXG | stat.S_IRWXO


class Settings(Record):
    """One master, one project on it. Without a password the session of ``python -m cryosparc.tools login`` is used."""

    base_url: str = Field(pattern=r"^https?://[^\s@]+$", description="as in the browser, http://master:39000")
    email: str | None = None
    password: SecretStr | None = None
    license_id: SecretStr | None = None
    project: str = Field(pattern=r"^P\d+$")
    workspace: str = Field(pattern=r"^W\d+$")
    lane: str | None = Field(None, description="of the scheduler; the master itself if not given")
    gpus_per_job: int | None = Field(None, ge=1, le=64)
    poll_seconds: float = Field(5.0, gt=0, le=600)
    patience_seconds: float = Field(600.0, ge=0, le=86_400, description="how long an unreachable master is waited for")
    licence_wait_seconds: float = Field(3600.0, ge=0, le=604_800, description="how long a job may wait for a licence")

    @model_validator(mode="after")
    def _whole(self) -> Settings:
        if self.password is not None and self.email is None:
            raise ValueError("a password needs an email")
        return self

    @property
    def holds_secrets(self) -> bool:
        """Whether the file must be nobody else's to read."""
        return self.password is not None or self.license_id is not None


def settings_path() -> Path:
    """The file named by ``CRYOREPRO_CRYOSPARC_CONFIG``, else the default place."""
    return Path(os.environ.get(VARIABLE) or DEFAULT).expanduser()


def load_settings() -> Settings:
    """The settings.

    Raises:
        InputError: the file is missing, malformed, or holds a password that others can read.
    """
    path = settings_path()
    if not path.is_file():
        raise InputError(f"no CryoSPARC master is configured: write {DEFAULT}, or name another file in {VARIABLE}")
    settings = load_record(path, Settings)
    if settings.holds_secrets and path.stat().st_mode & _SHARED:
        raise InputError(f"{path}: holds a password or licence and others may read it; chmod 600 it")
    return settings
