"""The profiles that ship with the package, one TOML file each under ``catalogue_files/``."""

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
        raise InputError(f"no GPU profile named '{name}'; shipped profiles: {', '.join(catalogue_names())}")
    return parse_profile_file((_FILES / f"{name}.toml").read_text("utf-8"), f"{name}.toml")
