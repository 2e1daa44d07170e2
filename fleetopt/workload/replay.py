"""The arrivals of a trace, replayed at any rate for as long as one likes."""

from dataclasses import dataclass

import numpy as np

from fleetopt.errors import InputError
from fleetopt.workload.dispersion import IndexOfDispersion, dispersion_of_times


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReplayedArrivals:
    """Gaps between arrivals as a trace has them, over and over; divided by one factor they have any rate.

    What of the burstiness this keeps, and what not, is said in `fleetopt.workload.synthesis.scale_rate`. Times are
    taken as they were logged: those of a log that rounds them to seconds come in clumps of a second.

    Attributes
    ----------
    gaps : np.ndarray
        float64[n], multiples of the mean gap; n at least 1.
    dispersion : IndexOfDispersion
        At one request per second.
    """

    gaps: np.ndarray
    dispersion: IndexOfDispersion

    def dispersion_at(self, rate_rps: float) -> IndexOfDispersion:
        """Index of dispersion at a rate, 1/s."""
        return self.dispersion.at_rate(rate_rps)

    def stretch(self, first: int, n: int, rate_rps: float) -> np.ndarray:
        """Arrival times of a stretch of the endless replay.

        Parameters
        ----------
        first : int
            Place of the stretch in it, from 0.
        n : int
            Requests.
        rate_rps : float
            Mean over a whole round, 1/s, above 0.

        Returns
        -------
        np.ndarray
            float64[n], s; the first comes its gap after 0.
        """
        return np.cumsum(self.gaps[np.arange(first, first + n) % len(self.gaps)] / rate_rps)


def replayed_arrivals(arrival_s: np.ndarray) -> ReplayedArrivals:
    """Take the arrivals of a trace.

    Parameters
    ----------
    arrival_s : np.ndarray
        float64[n], s, not decreasing.

    Raises
    ------
    InputError
        If they are too few for an index of dispersion, or come all at one time.
    """
    dispersion = dispersion_of_times(arrival_s)
    span_s = float(arrival_s[-1] - arrival_s[0])
    rate_rps = (len(arrival_s) - 1) / span_s
    gaps = np.diff(arrival_s) * rate_rps
    gaps.setflags(write=False)
    return ReplayedArrivals(gaps=gaps, dispersion=dispersion.at_rate(1 / rate_rps))


def index_in_windows(arrival_s: np.ndarray, rate_rps: float, window_s: float) -> float | None:
    """Index of dispersion of a trace replayed at a rate, in windows of one length; None where it has too few arrivals.

    Parameters
    ----------
    arrival_s : np.ndarray
        float64[n], s, not decreasing.
    rate_rps : float
        1/s.
    window_s : float
        s, at that rate.
    """
    try:
        replayed = replayed_arrivals(arrival_s)
    except InputError:
        return None
    return float(replayed.dispersion_at(rate_rps).at(window_s))
