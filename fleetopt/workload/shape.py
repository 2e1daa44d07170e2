"""Shape of an archetype's length distribution around a boundary."""

from dataclasses import dataclass
from typing import Literal

from fleetopt.workload.lengths import JointLengths


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchetypeShape:
    """Where the requests of an archetype lie relative to a boundary.

    Attributes
    ----------
    shape : {"I", "II", "III"}
        I concentrated below the boundary, II dispersed, III concentrated above it.
    below_fraction : float
        Share of requests of at most the boundary; alpha of arXiv 2603.16514.
    band_fraction : float
        Share just above it, up to gamma times the boundary; beta.
    """

    shape: Literal["I", "II", "III"]
    below_fraction: float
    band_fraction: float


def archetype_shape(lengths: JointLengths, boundary_tokens: int, gamma: float = 1.5) -> ArchetypeShape:
    """Shape of a length distribution relative to a boundary.

    Parameters
    ----------
    lengths : JointLengths
    boundary_tokens : int
        Total tokens.
    gamma : float
        Width of the band above the boundary, at least 1.

    Notes
    -----
    The archetypes of arXiv 2603.16514: I holds 90 % of the requests below the boundary, III most of them
    above it, and what lies between is dispersed. The paper classes Azure, at 0.898, with I, so 90 % is taken to the
    two digits it is given with (0.895); "most" is taken as more than half.
    """
    below = lengths.fraction_at_most(boundary_tokens)
    band = lengths.fraction_at_most(gamma * boundary_tokens) - below
    if below >= 0.895:
        return ArchetypeShape(shape="I", below_fraction=below, band_fraction=band)
    if below >= 0.5:
        return ArchetypeShape(shape="II", below_fraction=below, band_fraction=band)
    return ArchetypeShape(shape="III", below_fraction=below, band_fraction=band)
