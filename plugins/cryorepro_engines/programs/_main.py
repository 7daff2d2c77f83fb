"""What every stage program does first and last.

A program is a module ``cryorepro_engines.programs.KIND`` (``class3d``, ``refine3d``, ``maskcreate``,
``postprocess``) with this shape; torch is imported inside ``work``, because the number of threads is put
into the environment before that::

    from cryorepro.model.stage import StageRequest
    from cryorepro_engines.programs._main import run_program

    def work(request: StageRequest) -> None:
        parameters = parameters_of(request, Class3DParameters)
        ...

    if __name__ == "__main__":
        run_program(work)

It is started as ``python -m cryorepro_engines.programs.KIND REQUEST.json`` or with ``--request-json TEXT``.
Exit codes: 0 done, 2 bad input (one sentence on stderr), 143 after SIGTERM, 1 anything else, with its
traceback.

Files, by the names of a RELION job, in ``request.output_dir``:

- class3d: ``run_itNNN_{data,model,optimiser,sampling}.star`` and ``run_itNNN_class00K.mrc`` for every
  iteration.
- refine3d: ``run_itNNN_{data,optimiser,sampling}.star``, ``run_itNNN_half{1,2}_{model.star,class001.mrc}``;
  at the end ``run_data.star``, ``run_model.star``, ``run_class001.mrc`` and
  ``run_half{1,2}_class001_unfil.mrc``.
- initialmodel: as class3d, every so many iterations, and ``initial_model.mrc`` at the end.
- maskcreate: ``mask.mrc``. postprocess: ``postprocess.{mrc,star}``, ``postprocess_masked.mrc``,
  ``postprocess_fsc.xml``. localres: ``relion_locres.mrc``, ``relion_locres_filtered.mrc``.
- ctfrefine: ``particles_ctf_refine.star``.

``optimiser.star`` holds ``_rlnRandomSeed``, ``_rlnCurrentIteration`` and ``_rlnNumberOfIterations``; the
runner reads them back. It is written first of its iteration or last, but each file atomically. With
``request.resume`` a program goes on after the last iteration that
:func:`cryorepro.em.formats.relion_job.last_iteration` finds complete, and starts afresh when there is none.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeVar

from pydantic import ValidationError

from cryorepro.em.errors import InputError
from cryorepro.model.base import Record
from cryorepro.model.stage import StageRequest

BAD_INPUT = 2
TERMINATED = 128 + signal.SIGTERM
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
MAX_REQUEST_BYTES = 16 * 1024**2

Parameters = TypeVar("Parameters", bound=Record)


def run_program(work: Callable[[StageRequest], None], argv: Sequence[str] | None = None) -> NoReturn:
    """Read the request, do ``work``, and end the process with the right exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        work(request_from_argv(argv))
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(BAD_INPUT)
    sys.stdout.flush()
    sys.exit(0)


def request_from_argv(argv: Sequence[str] | None = None) -> StageRequest:
    """The request named or given on the command line; sets the thread variables where they are not set.

    Raises:
        InputError: the request is missing, too large or not valid.
    """
    parser = argparse.ArgumentParser(description="Carry out one stage.")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("path", nargs="?", type=Path, help="a file that holds the request as JSON")
    given.add_argument("--request-json", metavar="TEXT", help="the request itself")
    options = parser.parse_args(argv)
    source = "--request-json" if options.path is None else str(options.path)
    text = options.request_json if options.path is None else _read_text(options.path)
    try:
        request = StageRequest.model_validate_json(text)
    except ValidationError as error:
        raise InputError(_first_problem(error, source)) from error
    for variable in THREAD_VARIABLES:
        os.environ.setdefault(variable, str(request.threads))
    return request


def parameters_of(request: StageRequest, model: type[Parameters]) -> Parameters:
    """The request's parameters as their typed record.

    Raises:
        InputError: a parameter is unknown, missing or out of range; the sentence names it.
    """
    try:
        return model.model_validate(request.parameters)
    except ValidationError as error:
        raise InputError(_first_problem(error, f"stage {request.stage}: parameters")) from error


def relative_name(request: StageRequest, role: str) -> str:
    """Name of an input relative to the output directory, as a job's own files speak of it; "None" if not given."""
    path = request.inputs.get(role)
    return "None" if path is None else os.path.relpath(path, request.output_dir)


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_REQUEST_BYTES:
            raise InputError(f"{path}: larger than a request may be ({MAX_REQUEST_BYTES} bytes).")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the request cannot be read ({error}).") from error


def _first_problem(error: ValidationError, source: str) -> str:
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"]) or "request"
    return f"{source}: {field}: {problem['msg']}."


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    # Files are written atomically, so nothing needs finishing; os._exit also leaves a thread pool that is
    # busy behind, where a normal exit would wait for it.
    multiprocessing = sys.modules.get("multiprocessing")  # not loaded for programs that have no children
    for child in multiprocessing.active_children() if multiprocessing is not None else []:
        child.kill()
    os._exit(TERMINATED)
