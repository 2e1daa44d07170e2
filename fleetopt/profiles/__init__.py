"""GPU profiles: what one replica can do and what it costs, as data files with their sources."""

from fleetopt.profiles.catalogue import catalogue_names, load_profile
from fleetopt.profiles.profile import GpuProfile, parse_profile

__all__ = ["GpuProfile", "catalogue_names", "load_profile", "parse_profile"]
