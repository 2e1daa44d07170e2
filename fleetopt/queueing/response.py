"""How the requests on a replica excite each other: a long iteration lets more requests arrive, which lengthens it."""

from dataclasses import dataclass

import numpy as np

from fleetopt.profiles import GpuProfile

_FREQUENCIES = 96
_LOWEST_CYCLES, _HIGHEST = 0.003, 0.7
"""Lowest frequency, in radians per longest residence, and the highest, in radians per iteration."""


@dataclass(frozen=True, kw_only=True, eq=False)
class IterationResponse:
    """Spectra of what a request does to its replica, over the clock that ticks once an iteration.

    Means over requests of the transforms ``sum over iterations f(x) exp(-i omega x)`` for presence (1 while it runs),
    decode time and prefill time (s per iteration), and of their products.

    Attributes
    ----------
    omega : np.ndarray
        float64[f], radians per iteration.
    presence, decode, prefill : np.ndarray
        complex128[f].
    presence_decode, presence_prefill, decode_prefill : np.ndarray
        complex128[f], mean of the first times the conjugate of the second.
    decode_decode, prefill_prefill : np.ndarray
        float64[f], mean squares.
    """

    omega: np.ndarray
    presence: np.ndarray
    decode: np.ndarray
    prefill: np.ndarray
    presence_decode: np.ndarray
    presence_prefill: np.ndarray
    decode_prefill: np.ndarray
    decode_decode: np.ndarray
    prefill_prefill: np.ndarray

    def covariance(self, arrival_rate_rps: float, joins: float, prefill_share: float) -> tuple[float, float, float]:
        """Covariances over iterations of what runs, of the iteration time and of its decode part.

        Requests join at a rate that is proportional to the length of the running iteration, and every request adds to
        that length while it runs: a self-exciting (Hawkes) process. A request with its descendants is its own
        transform times ``1 / (1 - r C)``, where C is the mean transform of its time; covariances are those of shot
        noise (Campbell) of such clusters.

        Parameters
        ----------
        arrival_rate_rps : float
            At this replica, 1/s.
        joins : float
            Mean requests that join per iteration.
        prefill_share : float
            Load of the prefill, below 1. Prompts are prefilled one after the other, so what joins is smoothed: of the
            arrivals' variability a share ``1 - load^2`` comes through (Whitt, 1983, eq. 38), and so much of the
            prefill time is taken as exciting.

        Returns
        -------
        running_time, decode_time, decode_variance : float
            Covariance of running requests and iteration time, s; of the decode part and the iteration time, s^2;
            variance of the decode part, s^2.

        References
        ----------
        A. G. Hawkes (1971), Biometrika 58(1); W. Whitt (1983), The Queueing Network Analyzer, Bell System Technical
        Journal 62(9).
        """
        smoothing, rate = max(0.0, 1 - prefill_share**2), arrival_rate_rps
        time = self.decode + smoothing * self.prefill
        cross = 2 * smoothing * self.decode_prefill.real
        time_time = self.decode_decode + cross + smoothing**2 * self.prefill_prefill
        decode_time = self.decode_decode + smoothing * self.decode_prefill
        gain = 1 / (1 - rate * time)
        power = time_time * np.abs(gain) ** 2
        running_time = (self.presence_decode + smoothing * self.presence_prefill) * np.conj(gain)
        running_time = running_time + rate * power * self.presence
        decode_power = self.decode_decode + 2 * rate * (np.conj(decode_time) * self.decode * gain).real
        decode_power = decode_power + rate**2 * power * np.abs(self.decode) ** 2
        decode_with_time = decode_time * np.conj(gain) + rate * power * self.decode
        return (
            joins * self._integral(running_time.real),
            joins * self._integral(decode_with_time.real),
            joins * self._integral(decode_power),
        )

    def _integral(self, spectrum: np.ndarray) -> float:
        """1 / pi times the integral over positive frequencies; the spectrum is flat below the lowest."""
        area = np.sum(np.diff(self.omega) * (spectrum[1:] + spectrum[:-1])) / 2 + self.omega[0] * spectrum[0]
        return float(area / np.pi)


def iteration_response(
    profile: GpuProfile, chunk_tokens: int, share: np.ndarray, prompt_tokens: np.ndarray, output_tokens: np.ndarray
) -> IterationResponse:
    """Spectra of the requests of a mixture, prefilled in full chunks and decoded one token an iteration.

    Parameters
    ----------
    profile : GpuProfile
    chunk_tokens : int
    share, prompt_tokens, output_tokens : np.ndarray
        float64[k], shares sum to 1.
    """
    chunks, steps = prompt_tokens / chunk_tokens, output_tokens - 1
    longest = float((chunks + steps).max())
    omega = np.geomspace(min(_LOWEST_CYCLES / longest, _HIGHEST / 2), _HIGHEST, _FREQUENCIES)
    presence = _transform(omega, np.zeros_like(chunks), chunks + steps, np.ones_like(chunks), 0.0)
    prefill = _transform(
        omega,
        np.zeros_like(chunks),
        chunks,
        np.full_like(chunks, chunk_tokens * profile.per_prefill_token_s),
        chunk_tokens**2 * profile.per_prefill_attention_s,
    )
    decode = _transform(
        omega,
        chunks,
        steps,
        profile.per_sequence_s + profile.per_context_token_s * prompt_tokens,
        profile.per_context_token_s,
    )
    return IterationResponse(
        omega=omega,
        presence=_mean(share, presence),
        decode=_mean(share, decode),
        prefill=_mean(share, prefill),
        presence_decode=_mean(share, presence * np.conj(decode)),
        presence_prefill=_mean(share, presence * np.conj(prefill)),
        decode_prefill=_mean(share, decode * np.conj(prefill)),
        decode_decode=_mean(share, np.abs(decode) ** 2),
        prefill_prefill=_mean(share, np.abs(prefill) ** 2),
    )


def _transform(
    omega: np.ndarray, start: np.ndarray, length: np.ndarray, level: np.ndarray, slope: float
) -> np.ndarray:
    """complex128[k, f]: transform of ``level + slope (x - start)`` for x from start over a length."""
    turn = 1j * omega
    at_start = np.exp(-start[:, None] * turn)
    at_end = np.exp(-(start + length)[:, None] * turn)
    flat = (at_start - at_end) / turn
    ramp = flat / turn - length[:, None] * at_end / turn
    return level[:, None] * flat + slope * ramp


def _mean(share: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("k,kf->f", share, values))
