"""The commands that need the pipeline: `fleetopt nightly`, `demo`, `ui`, on top of those of the library."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
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


def _parse_day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"--date {text}: not a day; write for example 2023-11-16") from error


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
            console.print(f"Not used: {failed_day}: {reason}", markup=False)
    if not night.planned:
        console.print(f"{night.day}: up to date, nothing was planned again.")
    if show_steps and night.steps:
        table = Table("step", "wall s", "peak RSS MiB", title=f"Nightly run of {night.day}")
        for cost in night.steps:
            table.add_row(cost.step, f"{cost.wall_s:.2f}", f"{cost.peak_rss_mib:,.0f}")
        console.print(table)
