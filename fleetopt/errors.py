"""The one error that means "your input is wrong", and how a validation failure becomes one line of it."""

from pydantic import ValidationError


class InputError(Exception):
    """Bad input from a user: one line that says what is wrong, where, and what to do.

    The command line prints it and exits with status 2. Anything else that is raised is an error of ours and keeps
    its traceback; the two are never mixed up.
    """


def one_line(error: ValidationError, where: str) -> str:
    """Describe a failed validation as ``where: key 'a.b': message``.

    An unknown key is named first if there is one: it is often why another is missing.

    Parameters
    ----------
    error : pydantic.ValidationError
    where : str
        The file (or argument) that was validated.
    """
    failures = error.errors()
    first = next((failure for failure in failures if failure["type"] == "extra_forbidden"), failures[0])
    key = ".".join(str(part) for part in first["loc"])
    message = {"extra_forbidden": "unknown key", "missing": "required key is missing"}.get(
        first["type"], first["msg"].removeprefix("Value error, ")
    )
    more = error.error_count() - 1
    tail = f" (and {more} more)" if more else ""
    return f"{where}: key '{key}': {message}{tail}" if key else f"{where}: {message}{tail}"
