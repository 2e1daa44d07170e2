"""How the requests on a replica excite each other: a long iteration lets more requests arrive, which lengthens it."""

# mypy: ignore-errors
# Numba infers the types, and NumPy's stubs do not know the fields of a record.

from typing import NamedTuple

import numpy as np
from numba import njit

from fleetopt.compiled import compiled

_LOWEST_CYCLES = 0.003
"""Lowest frequency, in radians per longest residence, at most; the highest is half a turn per iteration."""
_PER_OCTAVE = 3
OMEGA, WEIGHT, PRESENCE, DECODE, PREFILL = 0, 1, 2, 4, 6
PRESENCE_DECODE, PRESENCE_PREFILL, DECODE_PREFILL = 8, 10, 12
PRESENCE_PRESENCE, DECODE_DECODE, PREFILL_PREFILL, ROWS = 14, 15, 16, 17
"""Rows of a response: of complex figures the real part, and the imaginary one in the next row."""


class Fluctuation(NamedTuple):
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


@compiled(error_model="numpy")
def tabulate_response(work, joint):
    """Spectra of what a request does to its replica, over the clock that ticks once an iteration.

    Means over requests of the transforms ``sum over iterations f(x) exp(-i omega x)`` for presence (1 while it runs),
    decode time and prefill time (s per iteration), and of the products of the first and the conjugate of the second.
    Requests are prefilled in equal chunks and decoded one token an iteration.

    Frequencies are a third of an octave apart, so that ``exp(-i omega x)`` at all but the lowest three is the square of
    an earlier one. All is in terms of ``1 - exp(-i omega x)``, which is exact for the lowest too; squaring, 1 - v turns
    into ``(1 - v) (2 - (1 - v))``.

    Parameters
    ----------
    work : WORK[1]
    joint : float64[3, k], share, prompt and output

    Returns
    -------
    float64[ROWS, f]
        ``OMEGA``, radians per iteration; ``WEIGHT``, of the trapezoidal rule over pi, the spectrum being flat below the
        lowest frequency; the spectra.
    """
    work = work[0]
    share, prompt = joint[0], joint[1]
    chunks, steps = np.ceil(prompt / work.chunk_tokens), joint[2] - 1
    longest = (chunks + steps).max()
    octaves = int(np.ceil(np.log2(np.pi * longest / _LOWEST_CYCLES)))
    spectra = np.zeros((ROWS, _PER_OCTAVE * octaves + 1))
    _space(spectra)
    own = np.empty((6, joint.shape[1]))
    own[0], own[1], own[2] = share, steps, chunks
    own[3] = work.per_sequence_s + work.per_context_token_s * prompt
    own[4] = work.per_prefill_token_s * prompt / chunks
    own[5] = work.per_prefill_attention_s * (prompt / chunks) ** 2
    turned = np.empty((_PER_OCTAVE, 4, joint.shape[1]))
    for f in range(spectra.shape[1]):
        state = turned[f % _PER_OCTAVE]
        if f < _PER_OCTAVE:
            _start(spectra[OMEGA, f], steps, state[0], state[1])
            _start(spectra[OMEGA, f], chunks, state[2], state[3])
        else:
            _double(state[0], state[1])
            _double(state[2], state[3])
        _add_means(work.per_context_token_s, own, state, spectra, f)
    return spectra


@njit(error_model="numpy")
def _space(spectra):
    """Fill in frequencies and weights."""
    omega, weight = spectra[OMEGA], spectra[WEIGHT]
    last = omega.size - 1
    for f in range(last + 1):
        omega[f] = np.pi * 2.0 ** ((f - last) / _PER_OCTAVE)
    for f in range(last + 1):
        below = omega[f - 1] if f > 0 else -omega[0]
        above = omega[f + 1] if f < last else omega[f]
        weight[f] = (above - below) / (2 * np.pi)


@njit(error_model="numpy", fastmath={"contract"})
def _start(omega, length, real, imaginary):
    """Fill in ``1 - exp(-i omega length)`` for angles below 0.02, by series."""
    for i in range(length.size):
        angle = omega * length[i]
        square = angle * angle
        real[i] = square / 2 * (1 - square / 12 * (1 - square / 30 * (1 - square / 56)))
        imaginary[i] = angle * (1 - square / 6 * (1 - square / 20 * (1 - square / 42)))


@njit(error_model="numpy", fastmath={"contract"})
def _double(real, imaginary):
    """Turn ``1 - v`` into ``1 - v^2``."""
    for i in range(real.size):
        r, m = real[i], imaginary[i]
        real[i] = r * (2 - r) + m * m
        imaginary[i] = 2 * m * (1 - r)


@njit(error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _add_means(per_context_token_s, own, turned, spectra, f):
    """Fill in the means at a frequency.

    With z = exp(-i omega) and v = z^n, ``sum z^j = (1 - v) / (1 - z)`` and ``sum (j + 1/2) z^j = ((1 / (1 - z) - 1/2)
    (1 - v) - n v) / (1 - z)`` over j < n; ``1 / (1 - z) - 1/2`` is ``-i cot(omega / 2) / 2``. The common factor
    ``1 / (1 - z)`` comes last.
    """
    share, steps, chunks, decode_level, prefill_level, prefill_slope = own[0], own[1], own[2], own[3], own[4], own[5]
    after_steps, after_steps_i, after_chunks, after_chunks_i = turned[0], turned[1], turned[2], turned[3]
    half_cotangent = 0.5 / np.tan(spectra[OMEGA, f] / 2)
    p_r = p_i = d_r = d_i = c_r = c_i = pd_r = pd_i = pc_r = pc_i = dc_r = dc_i = pp = dd = cc = 0.0
    for k in range(share.size):
        v_r, v_i, u_r, u_i = after_steps[k], after_steps_i[k], after_chunks[k], after_chunks_i[k]
        w = share[k]
        presence_r = u_r + v_r - (u_r * v_r - u_i * v_i)
        presence_i = u_i + v_i - (u_r * v_i + u_i * v_r)
        ramp_r = half_cotangent * v_i - steps[k] * (1 - v_r)
        ramp_i = steps[k] * v_i - half_cotangent * v_r
        own_r = decode_level[k] * v_r + per_context_token_s * ramp_r
        own_i = decode_level[k] * v_i + per_context_token_s * ramp_i
        decode_r = own_r - (u_r * own_r - u_i * own_i)
        decode_i = own_i - (u_r * own_i + u_i * own_r)
        prefill_r = prefill_level[k] * u_r + prefill_slope[k] * (half_cotangent * u_i - chunks[k] * (1 - u_r))
        prefill_i = prefill_level[k] * u_i + prefill_slope[k] * (chunks[k] * u_i - half_cotangent * u_r)
        p_r += w * presence_r
        p_i += w * presence_i
        d_r += w * decode_r
        d_i += w * decode_i
        c_r += w * prefill_r
        c_i += w * prefill_i
        pd_r += w * (presence_r * decode_r + presence_i * decode_i)
        pd_i += w * (presence_i * decode_r - presence_r * decode_i)
        pc_r += w * (presence_r * prefill_r + presence_i * prefill_i)
        pc_i += w * (presence_i * prefill_r - presence_r * prefill_i)
        dc_r += w * (decode_r * prefill_r + decode_i * prefill_i)
        dc_i += w * (decode_i * prefill_r - decode_r * prefill_i)
        pp += w * (presence_r * presence_r + presence_i * presence_i)
        dd += w * (decode_r * decode_r + decode_i * decode_i)
        cc += w * (prefill_r * prefill_r + prefill_i * prefill_i)
    # 1 / (1 - z) = 1/2 - i cot(omega / 2) / 2
    column = spectra[:, f]
    _scale(column, PRESENCE, p_r, p_i, half_cotangent)
    _scale(column, DECODE, d_r, d_i, half_cotangent)
    _scale(column, PREFILL, c_r, c_i, half_cotangent)
    power = 0.25 + half_cotangent * half_cotangent
    column[PRESENCE_DECODE], column[PRESENCE_DECODE + 1] = power * pd_r, power * pd_i
    column[PRESENCE_PREFILL], column[PRESENCE_PREFILL + 1] = power * pc_r, power * pc_i
    column[DECODE_PREFILL], column[DECODE_PREFILL + 1] = power * dc_r, power * dc_i
    column[PRESENCE_PRESENCE], column[DECODE_DECODE], column[PREFILL_PREFILL] = power * pp, power * dd, power * cc


@njit(error_model="numpy")
def _scale(column, row, real, imaginary, half_cotangent):
    """Fill in a mean transform, multiplied by ``1 / (1 - z)``."""
    column[row] = 0.5 * real + half_cotangent * imaginary
    column[row + 1] = 0.5 * imaginary - half_cotangent * real


@njit(error_model="numpy")
def passed(turns, load):
    """Share of the arrivals' power spectrum that comes out of a server, by radians per mean service.

    The M/M/1 server's busy time over that of as many servers as it takes: spectrum of an alternating renewal process
    (D. R. Cox, Renewal Theory, 1962) of idle times with rate ``load`` and busy periods. With B the transform of a busy
    period, ``load B^2 - (1 + load + s) B + 1 = 0``, that spectrum is the real part of ``(1 - B) / s`` and the share
    ``(1 - load) (1 + turns^2)`` times it. Slow fluctuations pass whole, of fast ones ``1 - load`` do.
    """
    load = min(max(load, 1e-6), 1 - 1e-6)
    real = (1 - load) ** 2 - turns * turns
    imaginary = 2 * (1 + load) * turns
    size = np.sqrt(real * real + imaginary * imaginary)
    if real > 0:
        root = np.sqrt((size + real) / 2)
        root_i = imaginary / (2 * root)
    else:
        root_i = np.sqrt((size - real) / 2)
        root = imaginary / (2 * root_i)
    total, total_i = 1 - load + root, turns + root_i
    share = 2 * total / (total * total + total_i * total_i)
    return min(max((1 - load) * (1 + turns * turns) * share, 0.0), 1.0)


@njit(error_model="numpy")
def fluctuation(spectra, rate, joins, carried, prefill):
    """Fluctuations, over iterations, of what runs and of how long an iteration lasts.

    Requests join at a rate that is proportional to the length of the last iteration, and every request adds to that
    length while it runs: a self-exciting process in discrete time (A. G. Hawkes, 1971, Biometrika 58(1)). A request
    with its descendants is its own transform times ``1 / (1 - r exp(-i omega) C)``, where C is the mean transform of
    its time; covariances are those of shot noise (Campbell) of such clusters.

    Prompts that wait for others' tokens are prefilled one after the other, which smooths the prefill part: of its
    power and of how it answers to arrivals the share that an M/M/1 server passes is left (see :func:`passed`).

    Parameters
    ----------
    spectra : float64[ROWS, f]
    rate : float
        Arrivals at this replica, 1/s.
    joins : float
        Mean requests that join per iteration.
    carried : float
        Load of the prefill queue, 0 to 1: the share of prompts that wait for others' tokens.
    prefill : float
        Mean iterations that a prompt occupies that queue.
    """
    running_time, decode_time, running_variance, decode_variance = 0.0, 0.0, 0.0, 0.0
    for f in range(spectra.shape[1]):
        omega, weight = spectra[OMEGA, f], spectra[WEIGHT, f]
        share = passed(omega * prefill, carried)
        presence = complex(spectra[PRESENCE, f], spectra[PRESENCE + 1, f])
        decode = complex(spectra[DECODE, f], spectra[DECODE + 1, f])
        time = decode + share * complex(spectra[PREFILL, f], spectra[PREFILL + 1, f])
        with_prefill = complex(spectra[DECODE_PREFILL, f], spectra[DECODE_PREFILL + 1, f])
        of_decode = spectra[DECODE_DECODE, f] + share * with_prefill
        of_presence = complex(
            spectra[PRESENCE_DECODE, f] + share * spectra[PRESENCE_PREFILL, f],
            spectra[PRESENCE_DECODE + 1, f] + share * spectra[PRESENCE_PREFILL + 1, f],
        )
        time_time = spectra[DECODE_DECODE, f] + share * (2 * with_prefill.real + spectra[PREFILL_PREFILL, f])
        lagged = rate * complex(np.cos(omega), -np.sin(omega))
        held = 1 - lagged * time
        size = held.real * held.real + held.imag * held.imag
        gain = held.conjugate() / size
        power = time_time / size
        running_time += weight * (of_presence * gain.conjugate() + lagged * power * presence).real
        decode_time += weight * (of_decode * gain.conjugate() + lagged * power * decode).real
        answers = lagged * gain
        running_variance += weight * (
            spectra[PRESENCE_PRESENCE, f]
            + 2 * (answers * of_presence.conjugate() * presence).real
            + rate * rate * power * (presence.real * presence.real + presence.imag * presence.imag)
        )
        decode_variance += weight * (
            spectra[DECODE_DECODE, f]
            + 2 * (answers * of_decode.conjugate() * decode).real
            + rate * rate * power * (decode.real * decode.real + decode.imag * decode.imag)
        )
    return Fluctuation(joins * running_time, joins * decode_time, joins * running_variance, joins * decode_variance)
