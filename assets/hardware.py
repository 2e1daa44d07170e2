"""The GPU profiles and prices that a fleet's declaration names."""

from pathlib import Path

from fleetopt.config import Fleet, Supply
from fleetopt.errors import InputError
from fleetopt.planner.problem import Offer
from fleetopt.profiles import GpuProfile, load_profile, parse_profile


def fleet_profiles(fleet: Fleet, name: str, config_path: Path) -> tuple[GpuProfile, ...]:
    """The GPU profiles that a fleet may choose from, at the fleet's prices.

    Raises
    ------
    InputError
        A name is not in the catalogue, a file cannot be read, or a profile is not valid or has no price; names file
        and key.
    """
    profiles = []
    for entry in fleet.profiles:
        where = f"{config_path}: key 'fleet.{name}.profiles'"
        profile = _profile(entry, where, config_path)
        price = fleet.usd_per_gpu_hour.get(entry, profile.usd_per_gpu_hour)
        if price == 0:
            raise InputError(f"{where}: {entry} has no price; declare it under [fleet.{name}.usd_per_gpu_hour]")
        profiles.append(profile.model_copy(update={"usd_per_gpu_hour": price}))
    return tuple(profiles)


def fleet_offers(fleet: Fleet, name: str, config_path: Path) -> tuple[Offer, ...]:
    """The GPU types that a fleet may choose from, on the terms that it declares.

    Raises
    ------
    InputError
        As `fleet_profiles`, or terms contradict each other; names file and key.
    """
    offers = []
    for entry, profile in zip(fleet.profiles, fleet_profiles(fleet, name, config_path), strict=True):
        try:
            offers.append(Offer(profile=profile, **fleet.supply.get(entry, Supply()).model_dump()))
        except InputError as error:
            raise InputError(f"{config_path}: key 'fleet.{name}.supply': {error}") from error
    return tuple(offers)


def running_prices(fleet: Fleet, name: str, config_path: Path) -> dict[str, float]:
    """Price of a replica of each profile of the fleet that runs today, USD per hour, by the name it is declared with.

    Raises
    ------
    InputError
        A profile is neither one of the fleet's nor in the catalogue nor a file.
    """
    prices = {}
    for pool in fleet.running:
        profile = _profile(pool.profile, f"{config_path}: key 'fleet.{name}.running.{pool.name}.profile'", config_path)
        price = fleet.usd_per_gpu_hour.get(pool.profile, profile.usd_per_gpu_hour)
        prices[pool.profile] = profile.gpus_per_replica * price
    return prices


def _profile(entry: str, where: str, config_path: Path) -> GpuProfile:
    try:
        if entry.endswith(".toml"):
            file = config_path.parent / entry
            return parse_profile(file.read_text("utf-8"), str(file))
        return load_profile(entry)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{where}: cannot read profile {entry}: {error}") from error
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
