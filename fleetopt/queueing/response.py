"""How the requests on a replica excite each other: a long iteration lets more requests arrive, which lengthens it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fleetopt.profiles import GpuProfile

_FREQUENCIES = 64
_LOWEST_CYCLES = 0.003
"""Lowest frequency, in radians per longest residence; the highest is half a turn per iteration."""


@dataclass(frozen=True, kw_only=True)
class Fluctuation:
    """Second moments over iterations.

    Attributes
    ----------
    running_time : float
        Covariance of running requests and the time of an iteration, s.
    decode_time : float
        Covariance of the decode part of an iteration and all of it, s^2.
    running_variance : float
        Variance of running requests.
    decode_variance : float
        Variance of the decode part of an iteration, s^2.
    """

    running_time: float
    decode_time: float
    running_variance: float
    decode_variance: float


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
    presence_presence, decode_decode, prefill_prefill : np.ndarray
        float64[f], mean squares.
    """

    omega: np.ndarray
    presence: np.ndarray
    decode: np.ndarray
    prefill: np.ndarray
    presence_decode: np.ndarray
    presence_prefill: np.ndarray
    decode_prefill: np.ndarray
    presence_presence: np.ndarray
    decode_decode: np.ndarray
    prefill_prefill: np.ndarray

    def fluctuation(self, arrival_rate_rps: float, joins: float, carried: float, prefill: float) -> Fluctuation:
        """Fluctuations, over iterations, of what runs and of how long an iteration lasts.

        Requests join at a rate that is proportional to the length of the last iteration, and every request adds to
        that length while it runs: a self-exciting (Hawkes) process in discrete time. A request with its descendants
        is its own transform times ``1 / (1 - r exp(-i omega) C)``, where C is the mean transform of its time;
        covariances are those of shot noise (Campbell) of such clusters.

        Prompts that wait for others' tokens are prefilled one after the other, which smooths the prefill part: of its
        power and of how it answers to arrivals the share that an M/M/1 server passes is left (see :func:`_passed`).

        Parameters
        ----------
        arrival_rate_rps : float
            At this replica, 1/s.
        joins : float
            Mean requests that join per iteration.
        carried : float
            Load of the prefill queue, 0 to 1: the share of prompts that wait for others' tokens.
        prefill : float
            Mean iterations that a prompt occupies that queue.

        References
        ----------
        A. G. Hawkes (1971), Biometrika 58(1).
        """
        rate = arrival_rate_rps
        smoothing = _passed(self.omega * prefill, carried)
        time = self.decode + smoothing * self.prefill
        cross = 2 * smoothing * self.decode_prefill.real
        time_time = self.decode_decode + cross + smoothing * self.prefill_prefill
        decode_time = self.decode_decode + smoothing * self.decode_prefill
        presence_time = self.presence_decode + smoothing * self.presence_prefill
        lagged = rate * self._lag
        gain = 1 / (1 - lagged * time)
        power = time_time * np.abs(gain) ** 2
        both = np.conj(gain)
        return Fluctuation(
            running_time=joins * self._integral(presence_time * both + lagged * power * self.presence),
            decode_time=joins * self._integral(decode_time * both + lagged * power * self.decode),
            running_variance=joins
            * self._integral(
                self.presence_presence
                + 2 * lagged * np.conj(presence_time) * self.presence * gain
                + rate**2 * power * np.abs(self.presence) ** 2
            ),
            decode_variance=joins
            * self._integral(
                self.decode_decode
                + 2 * lagged * np.conj(decode_time) * self.decode * gain
                + rate**2 * power * np.abs(self.decode) ** 2
            ),
        )

    def _integral(self, spectrum: np.ndarray) -> float:
        """1 / pi times the integral over positive frequencies; the spectrum is flat below the lowest."""
        return float(spectrum.real @ self._weights)

    @cached_property
    def _weights(self) -> np.ndarray:
        """float64[f], of the trapezoidal rule over pi."""
        widths = np.diff(self.omega, prepend=0.0, append=self.omega[-1])
        weights = (widths[1:] + widths[:-1]) / 2
        weights[0] += self.omega[0] / 2
        return np.asarray(weights / np.pi)

    @cached_property
    def _lag(self) -> np.ndarray:
        """complex128[f], transform of a delay of one iteration."""
        return np.exp(-1j * self.omega)


def _passed(turns: np.ndarray, load: float) -> np.ndarray:
    """float64[f], share of the arrivals' power spectrum that comes out of a server, by radians per mean service.

    The M/M/1 server's busy time over that of as many servers as it takes: spectrum of an alternating renewal process
    (D. R. Cox, Renewal Theory, 1962) of idle times with rate ``load`` and busy periods, whose transform is
    B. Slow fluctuations pass whole, of fast ones ``1 - load`` do.
    """
    load = min(max(load, 1e-6), 1 - 1e-6)
    s = 1j * turns
    # 1 - B, by the conjugate root: exact for the smallest s too.
    total = 1 + load + s
    ended = 1 - 2 / (total + np.sqrt(total**2 - 4 * load))
    spectrum = ((s - (1 - load) * ended) / (s * (s + load * ended))).real
    return np.asarray(np.clip((1 - load) * (1 + turns**2) * spectrum, 0.0, 1.0))


def iteration_response(
    profile: GpuProfile, chunk_tokens: int, share: np.ndarray, prompt_tokens: np.ndarray, output_tokens: np.ndarray
) -> IterationResponse:
    """Spectra of the requests of a mixture, prefilled in equal chunks and decoded one token an iteration.

    Parameters
    ----------
    profile : GpuProfile
    chunk_tokens : int
    share, prompt_tokens, output_tokens : np.ndarray
        float64[k], shares sum to 1.
    """
    chunks, steps = np.ceil(prompt_tokens / chunk_tokens), output_tokens - 1
    longest = float((chunks + steps).max())
    omega = np.geomspace(_LOWEST_CYCLES / longest, np.pi, _FREQUENCIES)
    presence = _transform(omega, np.zeros_like(chunks), chunks + steps, np.ones_like(chunks), np.zeros_like(chunks))
    prefill = _transform(
        omega,
        np.zeros_like(chunks),
        chunks,
        profile.per_prefill_token_s * prompt_tokens / chunks,
        profile.per_prefill_attention_s * (prompt_tokens / chunks) ** 2,
    )
    decode = _transform(
        omega,
        chunks,
        steps,
        profile.per_sequence_s + profile.per_context_token_s * prompt_tokens,
        np.full_like(chunks, profile.per_context_token_s),
    )
    return IterationResponse(
        omega=omega,
        presence=_mean(share, presence),
        decode=_mean(share, decode),
        prefill=_mean(share, prefill),
        presence_decode=_mean(share, presence * np.conj(decode)),
        presence_prefill=_mean(share, presence * np.conj(prefill)),
        decode_prefill=_mean(share, decode * np.conj(prefill)),
        presence_presence=_mean(share, np.abs(presence) ** 2),
        decode_decode=_mean(share, np.abs(decode) ** 2),
        prefill_prefill=_mean(share, np.abs(prefill) ** 2),
    )


def _transform(
    omega: np.ndarray, start: np.ndarray, length: np.ndarray, level: np.ndarray, slope: np.ndarray
) -> np.ndarray:
    """complex128[k, f]: sum of ``(level + slope (j + 1/2)) exp(-i omega (start + j))`` over j below the length."""
    turn = np.exp(-1j * omega)
    at_start, over = turn ** start[:, None], turn ** length[:, None]
    flat = (1 - over) / (1 - turn)
    ramp = (turn * flat - length[:, None] * over) / (1 - turn) + flat / 2
    flat, ramp = at_start * flat, at_start * ramp
    return level[:, None] * flat + slope[:, None] * ramp


def _mean(share: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("k,kf->f", share, values))
