"""`fleetopt formats` and `fleetopt ingest`."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from fleetopt.cli.options import JsonOption
from fleetopt.cli.progress import byte_progress
from fleetopt.errors import InputError


def formats() -> None:
    """List the log formats that can be read."""
    from rich.console import Console
    from rich.table import Table

    from fleetopt.ingest.formats import FORMATS

    table = Table("format", "what it is", "clock", "example", title="Log formats")
    for log_format in FORMATS.values():
        clock = "relative: declare its start" if log_format.has_relative_clock else "absolute"
        table.add_row(log_format.name, log_format.description, clock, log_format.example)
    Console().print(table)


def ingest(
    files: Annotated[list[Path], typer.Argument(help="Log files of one format.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Directory for requests.parquet and quarantine.parquet.")],
    log_format: Annotated[
        str, typer.Option("--format", help="Format, or 'auto' to tell it from the content.")
    ] = "auto",
    start: Annotated[
        str | None, typer.Option(help="ISO time with zone that a relative clock starts at.", show_default=False)
    ] = None,
    timezone: Annotated[str, typer.Option(help="IANA zone of times that carry none.")] = "UTC",
    archetype: Annotated[str, typer.Option(help="Traffic class of the requests.")] = "all",
    hash_key: Annotated[
        str, typer.Option(envvar="FLEETOPT_HASH_KEY", help="Key of the line hashes.", show_default=False)
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Read log files into requests.parquet."""
    from fleetopt.ingest.files import ingest_files
    from fleetopt.ingest.lines import PUBLIC_HASH_KEY

    if not archetype:
        raise InputError("--archetype: is empty; name a traffic class such as chat")
    with byte_progress("reading", enabled=not as_json) as on_progress:
        balance = ingest_files(
            files,
            log_format,
            _parse_start(start),
            out,
            hash_key.encode() or PUBLIC_HASH_KEY,
            archetype=archetype,
            timezone=timezone,
            on_progress=on_progress,
        )
    if as_json:
        print(json.dumps(asdict(balance)))
    else:
        print(
            f"{balance.lines:,} lines = {balance.requests:,} requests + {balance.duplicates:,} duplicates"
            f" + {balance.quarantined:,} quarantined"
        )
        print(f"written: {out / 'requests.parquet'}, {out / 'quarantine.parquet'}")


def _parse_start(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        start = datetime.fromisoformat(text)
        if start.tzinfo is None:
            raise InputError(f"--start {text}: needs a zone; write for example 2023-11-16T18:15:00Z")
        return start.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InputError(f"--start {text}: not an ISO time; write for example 2023-11-16T18:15:00Z") from error
