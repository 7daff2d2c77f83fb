"""Benchmark records as files: JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

from pydantic import ValidationError

from cryorepro.compare.bench_cryosparc import from_cryosparc, is_cryosparc
from cryorepro.compare.json_files import read_foreign_json
from cryorepro.em.errors import InputError
from cryorepro.model.bench import BenchRecord
from cryorepro.model.shipped import shipped

LARGEST_BYTES = 16_000_000
_CONTROL = re.compile(r"\\u00(?:[01]|7f|[89])|[\x7f-\x9f]")
"""As JSON writes them; names and reasons of other people's records are shown on terminals."""


def load_bench(name: str) -> BenchRecord:
    """A record from a JSON file, ours or CryoSPARC's, or the reference of that name in the registry.

    Raises:
        InputError: missing, too large, malformed, or not a record.
    """
    path = Path(name)
    if path.suffix != ".json" and "/" not in name:
        path = shipped("registry") / "bench" / f"{name}.json"
        if not path.is_file():
            known = sorted(file.stem for file in path.parent.glob("*.json"))
            raise InputError(
                f"{name}: neither a JSON file nor a reference ({', '.join(known) or 'there are none yet'})"
            )
    content = read_foreign_json(path, LARGEST_BYTES, "a record")
    try:
        record = from_cryosparc(content, str(path)) if is_cryosparc(content) else BenchRecord.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "record"
        raise InputError(f"{path}: {place}: {first['msg']}") from error
    if _CONTROL.search(record.model_dump_json()):
        raise InputError(f"{path}: holds control characters")
    return record


def as_csv(record: BenchRecord) -> str:
    """One line a test: name, group, device, tags, repeats, median, interval, rate, stop rule."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([
        "test", "type", "device", "tags", "repeats", "median_seconds", "low_seconds", "high_seconds", "level", "rate",
        "rate_unit", "stop_rule_met", "sub_seconds",
    ])  # fmt: skip
    for test in record.tests:
        bounds = [test.interval.low, test.interval.high, test.interval.level] if test.interval else ["", "", ""]
        writer.writerow([
            test.name, test.group, test.device, " ".join(test.tags), len(test.seconds), test.median_seconds, *bounds,
            test.rate if test.rate is not None else "", test.rate_unit or "", test.stop.met if test.stop else "",
            json.dumps(test.sub_seconds, sort_keys=True) if test.sub_seconds else "",
        ])  # fmt: skip
    return out.getvalue()
