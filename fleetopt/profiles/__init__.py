"""GPU profiles: what one replica can do and what it costs, as data files with their sources."""

from fleetopt.profiles.catalogue import catalogue_names, load_profile, load_profile_file
from fleetopt.profiles.evidence import Evidence, FitError, FitErrors, Sources
from fleetopt.profiles.profile import GpuProfile, ProfileFile, parse_profile, parse_profile_file

__all__ = [
    "Evidence",
    "FitError",
    "FitErrors",
    "GpuProfile",
    "ProfileFile",
    "Sources",
    "catalogue_names",
    "load_profile",
    "load_profile_file",
    "parse_profile",
    "parse_profile_file",
]
