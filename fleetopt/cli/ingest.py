"""`fleetopt formats` and `fleetopt ingest`."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleetopt.cli.options import JsonOption
from fleetopt.cli.progress import byte_progress
from fleetopt.errors import InputError

if TYPE_CHECKING:
    from fleetopt.ingest.files import Balance


def formats(as_json: JsonOption = False) -> None:
    """List the log formats that can be read, with an example of each."""
    from fleetopt.ingest.formats import FORMATS
    from fleetopt.reporting.formats import formats_json, formats_list

    if as_json:
        print(json.dumps(formats_json(list(FORMATS.values()))))
        return
    from rich.console import Console

    Console().print(formats_list(list(FORMATS.values())))


def ingest(
    files: Annotated[
        list[Path], typer.Argument(help="Log files, compressed or not; of any formats.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Directory for requests.parquet and quarantine.parquet.")],
    log_format: Annotated[
        str, typer.Option("--format", help="Format, or 'auto' to tell it from the content.")
    ] = "auto",
    start: Annotated[
        str | None, typer.Option(help="ISO time with zone that a relative clock starts at.", show_default=False)
    ] = None,
    timezone: Annotated[str, typer.Option(help="IANA zone of times that carry none.")] = "UTC",
    archetype: Annotated[str, typer.Option(help="Traffic class of requests whose lines name none.")] = "all",
    hash_key: Annotated[
        str,
        typer.Option(
            envvar="FLEETOPT_HASH_KEY", help="Key of the hashes of lines, tenants, sessions.", show_default=False
        ),
    ] = "",
    horizon_s: Annotated[
        float, typer.Option("--duplicate-horizon", help="Lines of one id are one request up to so many seconds apart.")
    ] = 3600.0,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", help="Only requests of this model; may be repeated.", show_default=False),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print the first three lines of each reason why lines could not be used.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Read log files into requests.parquet."""
    from fleetopt.ingest.files import Reading, ingest_files
    from fleetopt.ingest.lines import PUBLIC_HASH_KEY

    if not archetype:
        raise InputError("--archetype: is empty; name a traffic class such as chat")
    if not 0 <= horizon_s < float("inf"):
        raise InputError(f"--duplicate-horizon {horizon_s:g}: needs a number of seconds, 0 or more")
    reading = Reading(
        format_name=log_format,
        timezone=timezone,
        clock_start=_parse_start(start),
        hash_key=hash_key.encode() or PUBLIC_HASH_KEY,
        archetype=archetype,
        horizon_s=horizon_s,
        models=frozenset(models) if models else None,
    )
    with byte_progress(enabled=not as_json) as on_progress:
        balance = ingest_files(files, out, reading, on_progress)
    if as_json:
        found = asdict(balance)
        counts = {name: found.pop(name) for name in ("lines", "requests", "duplicates", "quarantined")}
        if not explain:
            del found["examples"]
        print(json.dumps({**counts, **{name: value for name, value in found.items() if value}}))
        return
    _print_balance(balance)
    if len(balance.models) > 1 and not models:
        print(f"the logs name {len(balance.models)} models: {', '.join(balance.models)}")
        print("requests of different models are not one workload: choose with --model")
    if explain:
        _print_examples(balance)
    if not hash_key:
        print("hashes are made with the public default key; set FLEETOPT_HASH_KEY to one of your own")
    print(f"written: {out / 'requests.parquet'}, {out / 'quarantine.parquet'}")


def _print_balance(balance: "Balance") -> None:
    print(
        f"{balance.lines:,} lines = {balance.requests:,} requests + {balance.duplicates:,} duplicates"
        f" + {balance.quarantined:,} quarantined"
    )
    if balance.unserved:
        kinds = ", ".join(f"{n:,} {outcome.replace('_', ' ')}" for outcome, n in sorted(balance.unserved.items()))
        print(f"of the requests {kinds}: no demand on GPUs, not written")
    if balance.finish_times:
        print(f"requests whose finish is taken for their arrival, for want of a duration: {balance.finish_times:,}")
    if balance.clock_restarts:
        print(f"new segments, where a relative clock started again within a file: {balance.clock_restarts:,}")


def _print_examples(balance: "Balance") -> None:
    from fleetopt.ingest.reasons import REASONS

    for reason, places in balance.examples.items():
        print(f"{reason}: {REASONS[reason]}")
        for place in places:
            where = f"{place['file']}, line {place['line_number']}"
            at = "" if place["byte_offset"] is None else f" (byte {place['byte_offset']}, {place['byte_length']} bytes)"
            text = place["raw_text"]
            print(f"  {where}{at}" + (f": {text[:200]!r}" if text is not None else ""))


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
