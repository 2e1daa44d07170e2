"""A workload in the forms that people have it in: the name of a published CDF, points of another, lengths, a trace."""

from collections.abc import Sequence

from fleetopt.workload.lengths import JointLengths, lengths_from_cdf, lengths_from_trace, make_lengths
from fleetopt.workload.reference import load_reference
from fleetopt.workload.trace import Trace

CdfPoints = tuple[tuple[float, float], ...]
Workload = str | Sequence[tuple[float, float]] | JointLengths | Trace
"""Name of a published CDF, points (tokens, share) of one, lengths, or a trace."""


def lengths_of(
    workload: Workload, output_fraction: float, compressible_fraction: float, where: str = "workload"
) -> tuple[JointLengths, CdfPoints | None]:
    """Lengths of a workload, and the points of the CDF that it is, if it is one.

    Parameters
    ----------
    workload : str, sequence of (float, float), JointLengths or Trace
    output_fraction : float
        Share of a total length that is output, of a CDF.
    compressible_fraction : float
        Share of requests that may be compressed, of a CDF or a trace.
    where : str
        File or name, for messages.

    Raises
    ------
    InputError
        If there is no published workload of that name, or the points are no CDF.
    """
    if isinstance(workload, JointLengths):
        return workload, None
    if isinstance(workload, Trace):
        found = lengths_from_trace(workload)
        columns = (found.prompt_tokens, found.output_tokens, found.weight)
        return make_lengths(*columns, compressible_fraction, where=where), None
    points = load_reference(workload).points if isinstance(workload, str) else tuple(workload)
    name = workload if isinstance(workload, str) else where
    return lengths_from_cdf(points, output_fraction, compressible_fraction, name), points
