"""The profiles that ship with the package, one TOML file each under ``catalogue_files/``."""

from difflib import get_close_matches
from importlib import resources

from fleetopt.errors import InputError
from fleetopt.profiles.profile import GpuProfile, ProfileFile, parse_profile_file

_FILES = resources.files("fleetopt.profiles") / "catalogue_files"


def catalogue_names() -> list[str]:
    """Names of the shipped profiles, sorted."""
    return sorted(file.name.removesuffix(".toml") for file in _FILES.iterdir() if file.name.endswith(".toml"))


def load_profile(name: str) -> GpuProfile:
    """Return the shipped profile of that name.

    Raises
    ------
    InputError
        If there is none.
    """
    return load_profile_file(name).profile


def load_profile_file(name: str) -> ProfileFile:
    """Return the shipped profile of that name with what stands behind it.

    Raises
    ------
    InputError
        If there is none.
    """
    if name not in catalogue_names():
        near = get_close_matches(name, catalogue_names(), n=4, cutoff=0.4)
        meant = f"did you mean {', '.join(near)}? " if near else ""
        raise InputError(f"no GPU profile named '{name}'; {meant}`fleetopt profiles list` names all that are shipped")
    return parse_profile_file((_FILES / f"{name}.toml").read_text("utf-8"), f"{name}.toml")
