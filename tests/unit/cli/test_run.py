"""How the command line ends: status and the one line on standard error."""

import errno

import pytest
import typer

from fleetopt.cli import run
from fleetopt.errors import InputError


def ended(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int | str | None:
    """The exit status of a command that raises."""
    app = typer.Typer()

    @app.callback()
    def options() -> None:
        """Makes it a group of commands, as ours is."""

    @app.command()
    def fail() -> None:
        raise error

    monkeypatch.setattr("sys.argv", ["fleetopt", "fail"])
    with pytest.raises(SystemExit) as caught:
        run(app)
    return caught.value.code


def test_an_interrupt_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(monkeypatch, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "fleetopt: interrupted; no file is left half-written\n"


def test_bad_input_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(monkeypatch, InputError("a: first\nsecond")) == 2
    assert capsys.readouterr().err == "fleetopt: a: first second\n"


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(monkeypatch, OSError(errno.ENOSPC, "No space left on device")) == 1
    assert capsys.readouterr().err == "fleetopt: the output cannot be written: No space left on device\n"
