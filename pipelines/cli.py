"""The commands that need the pipeline: `fleetopt nightly`, `demo`, `forget`, `ui`, on top of those of the library."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from fleetopt.cli import JsonOption, app, run
from fleetopt.errors import InputError

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="Configuration file. Default: ./fleetopt.toml, else the demo's.", show_default=False),
]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="Data directory. Default: data/ in the checkout.", show_default=False)
]


@app.command()
def nightly(
    day: Annotated[
        str | None,
        typer.Option("--date", help="Day to plan, UTC, as 2023-11-16. Default: yesterday.", show_default=False),
    ] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    steps: Annotated[bool, typer.Option("--steps", help="Also print wall time and peak memory of each step.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Plan a day from the logs: ingest, plan, prove, publish."""
    settings, asked = _settings(config, data), _parse_day(day)
    from pipelines.nightly import run_night

    with _night_progress(enabled=not as_json) as progress:
        night = run_night(settings, asked, progress)
    _print_night(night, show_steps=steps, as_json=as_json)


@app.command()
def demo(data: DataOption = None) -> None:
    """Write 35 days of demo logs and plan the last two."""
    from pipelines.demo import CONFIG, FIRST_DAY, LAST_DAY, write_demo_logs
    from pipelines.nightly import run_night

    settings = _settings(CONFIG, data)
    with _night_progress(enabled=True) as progress:
        write_demo_logs(settings, progress)
        # The night before is planned as well, so that the report can say how well its recommendation held.
        run_night(settings, LAST_DAY - timedelta(days=1), progress, ingest_from=FIRST_DAY)
        night = run_night(settings, LAST_DAY, progress)
    _print_night(night, show_steps=False, as_json=False)


@app.command()
def forget(
    day: Annotated[str | None, typer.Option(help="This UTC day, as 2023-11-16.", show_default=False)] = None,
    before: Annotated[str | None, typer.Option(help="All UTC days before this one.", show_default=False)] = None,
    expired: Annotated[
        bool, typer.Option("--expired", help="All days older than pipeline.keep_request_days of the configuration.")
    ] = False,
    source: Annotated[str | None, typer.Option(help="Of this source only.", show_default=False)] = None,
    tenant: Annotated[
        str | None, typer.Option(help="Of this tenant only, named as in the logs.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Delete requests of days, of a source or of a tenant for good.

    Deletes their rows from the raw layer and all tables, with what earlier versions of these days held. They do not
    come back when their logs are read again: forgotten.json in the data directory lists what was forgotten. Log files
    are never touched: delete them yourself. Counts and plans stay; they name nobody. Lines that could not be used
    have no tenant; delete their day.
    """
    from pipelines.forgetting import Forgetting, shown_held

    settings = _settings(config, data)
    forgetting = Forgetting(settings, _selection(settings, day, before, expired, source, tenant))
    held = forgetting.held()
    print(shown_held(held))
    if not held and tenant is not None:
        print("Tenants are found by their keyed hash: check the name, and that FLEETOPT_HASH_KEY is that of the logs.")
    if dry_run:
        return
    if not yes and not typer.confirm("Delete it for good?" if held else "Read none of it from now on?"):
        print("Nothing was deleted.")
        return
    forgetting.forget()
    done = "Deleted" if held else "Nothing was there to delete; none of it is read from now on"
    print(f"{done}. The log files are as they were: delete them where they are, too.")


@app.command()
def ui(
    config: ConfigOption = None,
    data: DataOption = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3000,
) -> None:
    """Open the Dagster UI on 127.0.0.1."""
    from pipelines.instance import instance_environment

    settings = _settings(config, data)
    settings.paths.dagster.mkdir(parents=True, exist_ok=True)
    dagster = Path(sys.executable).with_name("dagster")
    command = [str(dagster), "dev", "-m", "pipelines.definitions", "-h", "127.0.0.1", "-p", str(port)]
    os.execve(dagster, command, {**os.environ, **instance_environment(settings)})  # noqa: S606


def main() -> None:
    """Entry point of the `fleetopt` script."""
    # deltalake says on standard error what stores answer, as much as this allows on import. What fails raises.
    os.environ.setdefault("RUST_LOG", "error")
    run(app)


def _settings(config: Path | None, data: Path | None) -> Any:
    from pipelines.resources.paths import PROJECT_ROOT
    from pipelines.resources.settings import load_settings

    here = Path("fleetopt.toml")
    settings = load_settings(config or (here if here.exists() else PROJECT_ROOT / "fleetopt.toml"), data)
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--data {settings.data_dir}: cannot be a data directory: {error.strerror}") from error
    return settings


def _parse_day(text: str | None, option: str = "--date") -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{option} {text}: not a day; write for example 2023-11-16") from error


def _selection(
    settings: Any, day: str | None, before: str | None, expired: bool, source: str | None, tenant: str | None
) -> Any:
    """Read what `forget` was asked for; what names no day means all that are over."""
    from fleetopt.ingest.labels import keyed_label
    from pipelines.resources.forgotten import Selection

    if (day is not None) + (before is not None) + expired > 1:
        raise InputError("--day, --before, --expired: give one of them")
    if not any((day, before, expired, source, tenant)):
        raise InputError("nothing is named; give --day, --before, --expired, --source or --tenant")
    known = set(settings.config.source) | {p.name.removeprefix("source=") for p in settings.paths.raw.glob("source=*")}
    if source is not None and source not in known:
        raise InputError(f"--source: there is no source '{source}'; known: {', '.join(sorted(known))}")
    only, end, today = _parse_day(day, "--day"), _parse_day(before, "--before"), datetime.now(UTC).date()
    kept_days = settings.config.pipeline.keep_request_days
    if expired and kept_days is None:
        raise InputError(f"--expired: {settings.config_path} declares no pipeline.keep_request_days")
    if only is not None:
        end = only + timedelta(days=1)
    elif expired:
        end = today - timedelta(days=kept_days)
    tenant_hash = None if tenant is None else keyed_label(tenant, settings.hash_key, "tenant")
    return Selection(end or today, only, source, tenant_hash)


@contextmanager
def _night_progress(*, enabled: bool) -> Iterator[Any]:
    """A bar over the days of the window and a line with the current step, on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from pipelines.nightly import Progress

    columns = (
        TextColumn("days"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    console = Console(stderr=True)
    with Bar(*columns, console=console, transient=True, disable=not (enabled and console.is_terminal)) as bar:
        task = bar.add_task("starting", total=None)
        yield Progress(
            on_days=lambda done, total: bar.update(task, completed=done, total=total),
            on_message=lambda message: bar.update(task, description=message[:60]),
        )


def _print_night(night: Any, *, show_steps: bool, as_json: bool) -> None:
    if as_json:
        fleets = [
            {
                "name": fleet.document["fleet"],
                "plan": fleet.document["plan"],
                "verdict": fleet.document["verdict"],
                "report": str(fleet.report),
                "feed": str(fleet.feed),
            }
            for fleet in night.fleets
        ]
        print(json.dumps({"date": night.day.isoformat(), "fleets": fleets}))
        return
    from rich.console import Console
    from rich.table import Table

    from fleetopt.reporting.terminal import recommendation_table

    console = Console()
    for fleet in night.fleets:
        console.print(recommendation_table(fleet.document, report=str(fleet.report), feed=str(fleet.feed)))
    if night.failed:
        for failed_day, reason in night.failed.items():
            said = "Kept as it was" if failed_day in night.kept else "Not used"
            console.print(f"{said}: {failed_day}: {reason}", markup=False)
    if not night.planned:
        console.print(f"{night.day}: up to date, nothing was planned again.")
    if show_steps and night.steps:
        table = Table("step", "wall s", "peak RSS MiB", title=f"Nightly run of {night.day}")
        for cost in night.steps:
            table.add_row(cost.step, f"{cost.wall_s:.2f}", f"{cost.peak_rss_mib:,.0f}")
        console.print(table)
