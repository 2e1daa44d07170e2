"""Progress bars: on standard error, only where that is a terminal, gone when the work is done."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class OnProgress(Protocol):
    """What is told of progress."""

    def __call__(self, done: int, total: int, what: str = "", /) -> None:
        """Take how much is done, how much there is in all, and perhaps what is being worked at."""


@contextmanager
def byte_progress(*, enabled: bool) -> Iterator[OnProgress]:
    """A bar over bytes read; the caller is given what to tell of bytes done, bytes in all, and what is being done."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), DownloadColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with _bar(columns, enabled=enabled) as update:
        yield update


@contextmanager
def count_progress(what: str, *, enabled: bool) -> Iterator[OnProgress]:
    """A bar over things done, with an estimate; the caller is given what to tell of them."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with _bar(columns, enabled=enabled) as update:
        yield update


@contextmanager
def message_progress(*, enabled: bool) -> Iterator[Callable[[str], None]]:
    """What is being done, in words, and for how long; the caller is given what to tell of it."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not (enabled and console.is_terminal)) as bar:
        task = bar.add_task("planning", total=None)

        def on_message(message: str) -> None:
            bar.update(task, description=message[: console.width - 12])

        yield on_message


@contextmanager
def _bar(columns: tuple[Any, ...], *, enabled: bool) -> Iterator[OnProgress]:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not (enabled and console.is_terminal)) as bar:
        task = bar.add_task("", total=None)

        def on_progress(done: int, total: int, what: str = "", /) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield on_progress
