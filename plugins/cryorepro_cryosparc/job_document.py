"""A job as CryoSPARC records it in ``job.json``: version 5 through the models of cryosparc-tools, 4 and before here.

Version 5 keeps what a job is under ``spec``; before, parameters were in ``params_spec``, connections in
``input_slot_groups`` and files in ``output_results``. Both become one plain record.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cryorepro.em.errors import InputError
from cryorepro_cryosparc.mongo import instant, parameters, plain, shown

ENDS = ("completed_at", "failed_at", "killed_at")


@dataclass(frozen=True)
class JobOutput:
    """An output group: how many items, the tables that hold them, and CryoSPARC's own statistics."""

    name: str
    kind: str
    items: int
    files: tuple[str, ...]
    statistics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """What a job was and did. Times are UTC, None where the document has none."""

    uid: str
    type: str
    title: str
    status: str
    version: str
    parameters: dict[str, Any]
    inputs: tuple[tuple[str, str, str], ...]  # input, the parent job's uid, its output
    outputs: tuple[JobOutput, ...]
    started_at: datetime | None
    ended_at: datetime | None
    waited: bool
    errors: tuple[str, ...]
    machine: dict[str, Any]
    resources: dict[str, Any]


def read_job(document: Any, where: str) -> Job:
    """A job from its document.

    Raises:
        InputError: it is not one; the sentence names the field.
    """
    if not isinstance(document, dict):
        raise InputError(f"{where}: not a job of CryoSPARC's (no JSON object)")
    plainly: dict[str, Any] = plain(document)
    try:
        return _version_5(plainly) if isinstance(plainly.get("spec"), dict) else _version_4(plainly)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "document"
        raise InputError(f"{where}: {shown(place, 80)}: {shown(first['msg'], 200)}") from error


def _version_5(document: dict[str, Any]) -> Job:
    try:
        from cryosparc.models.job import Job as Model
    except ImportError as error:
        raise InputError(
            "jobs of CryoSPARC 5 are read with cryosparc-tools: pip install 'cryorepro[cryosparc]'"
        ) from error
    filled = {"uid_num": 0, "project_uid_num": 0, "status_num": 0, "build_errors": []}
    model = Model.model_validate(filled | {"job_dir_size_last_updated": "1970-01-01T00:00:00Z"} | document)
    spec = model.spec
    return _job(
        document,
        type=spec.type,
        parameters=parameters(spec.params.model_dump(mode="json")),
        inputs=tuple(
            (shown(name, 60), link.job_uid, link.output)
            for name, value in spec.inputs.root.items()
            for link in value.connections
        ),
        outputs=tuple(
            JobOutput(
                shown(name, 60),
                value.type,
                value.num_items,
                tuple(dict.fromkeys(result.metafiles[-1] for result in value.results if result.metafiles)),
                value.latest_summary_stats,
            )
            for name, value in spec.outputs.root.items()
        ),
    )


class _Loose(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Connection(_Loose):
    job_uid: str
    group_name: str = ""


class _InputGroup(_Loose):
    name: str
    connections: list[_Connection] = []


class _OutputGroup(_Loose):
    name: str
    type: str = ""
    num_items: int | None = 0
    latest_summary_stats: dict[str, Any] | None = None


class _OutputResult(_Loose):
    group_name: str
    metafiles: list[str] = []
    passthrough: bool = False


class _Version4(_Loose):
    job_type: str | None = None
    type: str | None = None
    params_spec: dict[str, Any] = {}
    input_slot_groups: list[_InputGroup] = Field([], max_length=10_000)
    output_result_groups: list[_OutputGroup] = Field([], max_length=10_000)
    output_results: list[_OutputResult] = Field([], max_length=100_000)


def _version_4(document: dict[str, Any]) -> Job:
    model = _Version4.model_validate(document)
    kind = model.job_type or model.type
    if kind is None:
        raise InputError("not a job of CryoSPARC's (neither spec nor job_type)")
    values = {key: value.get("value") if isinstance(value, dict) else value for key, value in model.params_spec.items()}
    return _job(
        document,
        type=kind,
        parameters=parameters(values),
        inputs=tuple(
            (shown(group.name, 60), link.job_uid, link.group_name)
            for group in model.input_slot_groups
            for link in group.connections
        ),
        outputs=tuple(_output_4(group, model.output_results) for group in model.output_result_groups),
    )


def _output_4(group: _OutputGroup, results: list[_OutputResult]) -> JobOutput:
    files = [result.metafiles[-1] for result in results if result.group_name == group.name and result.metafiles]
    return JobOutput(
        shown(group.name, 60),
        group.type,
        max(group.num_items or 0, 0),
        tuple(dict.fromkeys(files)),
        group.latest_summary_stats or {},
    )


class _Common(_Loose):
    uid: str = Field(pattern=r"^J\d{1,9}$")
    status: str = "building"
    title: str | None = ""
    version: str | None = ""
    errors_run: list[Any] = Field([], max_length=1000)
    instance_information: dict[str, Any] | None = None
    resources_allocated: dict[str, Any] | None = None


def _job(document: dict[str, Any], **known: Any) -> Job:
    common = _Common.model_validate(document)
    ends = [moment for moment in (instant(document.get(name)) for name in ENDS) if moment is not None]
    messages = [item.get("message", "") if isinstance(item, dict) else item for item in common.errors_run]
    return Job(
        uid=common.uid,
        title=shown(common.title or "", 200),
        status=shown(common.status, 40),
        version=shown(common.version or "", 60),
        started_at=instant(document.get("started_at")),
        ended_at=max(ends) if ends else None,
        waited=instant(document.get("waiting_at")) is not None,
        errors=tuple(shown(message, 300) for message in messages[-3:]),
        machine=common.instance_information or {},
        resources=common.resources_allocated or {},
        **known,
    )
