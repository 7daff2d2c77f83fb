"""The ``cryorepro`` command: errors people caused become one sentence and exit code 2."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

import cryorepro
from cryorepro.cli.ask import verdict_command
from cryorepro.cli.bench import bench_app
from cryorepro.cli.bundle import export_command, import_command, verify_command
from cryorepro.cli.calibrate import calibrate_command
from cryorepro.cli.cite import cite_command
from cryorepro.cli.claims import claims_app
from cryorepro.cli.convert import convert_command
from cryorepro.cli.data import data_app
from cryorepro.cli.database import db_app
from cryorepro.cli.explain import explain_diff_command
from cryorepro.cli.fetch import fetch_command
from cryorepro.cli.look import compare_command, list_command, runs_command, show_command
from cryorepro.cli.machine import fingerprint_app
from cryorepro.cli.plan import plan_command
from cryorepro.cli.plugins import plugins_app
from cryorepro.cli.power import power_command
from cryorepro.cli.registry import registry_app
from cryorepro.cli.reproduce import reproduce_command, resume_command
from cryorepro.cli.scaling import scaling_command
from cryorepro.cli.spec import schema_command, validate_command
from cryorepro.cli.timeline import timeline_command
from cryorepro.em.errors import InputError
from cryorepro.store.errors import StoreError

FILE_COLUMNS = "110"
"""Width of tables that go to a file or a pipe; on a terminal they follow its width."""

app = typer.Typer(
    help="Run published cryo-EM benchmarks here and say whether their outcome was reproduced.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("reproduce")(reproduce_command)
app.command("resume")(resume_command)
app.command("list")(list_command)
app.command("show")(show_command)
app.command("runs")(runs_command)
app.command("compare")(compare_command)
app.command("explain-diff")(explain_diff_command)
app.command("verdict")(verdict_command)
app.command("calibrate")(calibrate_command)
app.command("power")(power_command)
app.command("export")(export_command)
app.command("verify")(verify_command)
app.command("import")(import_command)
app.command("convert")(convert_command)
app.command("validate")(validate_command)
app.command("schema")(schema_command)
app.add_typer(fingerprint_app, name="fingerprint")
app.command("timeline")(timeline_command)
app.add_typer(bench_app, name="bench")
app.command("cite")(cite_command)
app.command("fetch")(fetch_command)
app.add_typer(data_app, name="data")
app.add_typer(claims_app, name="claims")
app.command("plan")(plan_command)
app.command("scaling")(scaling_command)
app.add_typer(db_app, name="db")
app.add_typer(plugins_app, name="plugins")
app.add_typer(registry_app, name="registry")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cryorepro {cryorepro.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def run() -> None:
    """Entry point of the console script."""
    if not sys.stdout.isatty():
        os.environ.setdefault("COLUMNS", FILE_COLUMNS)
    try:
        app()
    except (InputError, StoreError) as error:
        print(f"cryorepro: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:  # a full or failing disk, a file that may not be read
        where = f"{error.filename}: " if error.filename else ""
        print(f"cryorepro: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(2)
