"""Progress bars: on standard error, only where that is a terminal, gone when the work is done."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def byte_progress(what: str, *, enabled: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar over bytes read; the caller is given a function of (bytes done, bytes in all)."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn

    with _bar((TextColumn(what), BarColumn(), DownloadColumn(), TimeRemainingColumn()), enabled=enabled) as update:
        yield update


@contextmanager
def count_progress(what: str, *, enabled: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar over things done, with an estimate; the caller is given a function of (things done, things in all)."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with _bar(columns, enabled=enabled) as update:
        yield update


@contextmanager
def _bar(columns: tuple[Any, ...], *, enabled: bool) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not (enabled and console.is_terminal)) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
