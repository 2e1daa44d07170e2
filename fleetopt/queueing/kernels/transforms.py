"""Sums of independent times on a grid of equidistant times from 0, by discrete Fourier transform.

Masses are transformed after damping by a factor that falls to 1e-7 over the grid, so that what wraps round is
suppressed by as much (Abate and Whitt, 1992, Queueing Systems 10). Sums of times from 0 upwards are then right up to
the end of the grid, however far the distribution goes on. Arrays of real and of imaginary parts are apart, and end
half way: the other half are the conjugates.
"""

# mypy: ignore-errors
# Numba infers the types.

import numpy as np
from numba import njit

POINTS = 512
HALF = POINTS // 2 + 1
QUESTION = 0.85
"""Where on a grid the time lies whose probability is asked for."""
_DAMPING = 1e-7 ** (np.arange(POINTS) / POINTS)
_TURN = 2 * np.pi * np.arange(POINTS) / POINTS
_COSINE, _SINE = np.cos(_TURN), -np.sin(_TURN)
_ROOT_HALF = np.sqrt(0.5)
_TERMS, _SMALL = 10, 0.2
_LAST = POINTS - 1


def _up_to_question():
    """Weights of masses in the probability of a time up to ``QUESTION``, and of transforms in the same.

    A mass lies half a step around its point.
    """
    place = QUESTION * POINTS - 0.5
    weight = np.clip(place - np.arange(POINTS) + 1, 0.0, 1.0)
    transform = np.fft.rfft(weight / _DAMPING).conj() * np.r_[1.0, np.full(HALF - 2, 2.0), 1.0] / POINTS
    return weight, transform.real.copy(), transform.imag.copy()


_UP_TO, _UP_TO_REAL, _UP_TO_IMAGINARY = _up_to_question()


@njit(error_model="numpy")
def put(masses, mass, place):
    """Add a mass, split over its two neighbours so that the mean is kept; what lies beyond the grid is left out."""
    if place < POINTS - 1:
        low = int(place)
        upper = mass * (place - low)
        masses[low] += mass - upper
        masses[low + 1] += upper


@njit(error_model="numpy")
def add_uniform(masses, width, out):
    """Fill in the sum of a time and one that is uniform between 0 and a width, in steps of the grid."""
    # A mass stands for half a step on either side of its point: of the uniform time as well.
    last = max(0, int(np.ceil(width - 0.5)))
    if last == 0:
        out[:] = masses
        return
    inside = 0.0
    for n in range(POINTS):
        out[n] = 0.5 / width * masses[n] + inside / width
        inside += masses[n]
        if n >= last:
            out[n] += (1 - (last - 0.5) / width) * masses[n - last]
        if n >= last - 1:
            inside -= masses[n - last + 1]


@njit(error_model="numpy")
def question(masses, real, imaginary):
    """P(time <= ``QUESTION``), of masses and a transform whose sum is the distribution."""
    total = 0.0
    for n in range(POINTS):
        total += masses[n] * _UP_TO[n]
    for f in range(HALF):
        total += real[f] * _UP_TO_REAL[f] - imaginary[f] * _UP_TO_IMAGINARY[f]
    return total


@njit(error_model="numpy")
def transform_pair(first, second, out):
    """Fill in float64[4, HALF], real and imaginary part of the transforms of two arrays of masses."""
    work = np.empty((4, POINTS))
    for n in range(POINTS):
        work[0, n] = first[n] * _DAMPING[n]
        work[1, n] = second[n] * _DAMPING[n]
    _transform(work)
    for f in range(HALF):
        mirror = (POINTS - f) & _LAST
        out[0, f] = (work[2, f] + work[2, mirror]) / 2
        out[1, f] = (work[3, f] - work[3, mirror]) / 2
        out[2, f] = (work[3, f] + work[3, mirror]) / 2
        out[3, f] = (work[2, mirror] - work[2, f]) / 2


@njit(error_model="numpy")
def invert(real, imaginary):
    """float64[POINTS], the masses of a transform."""
    work = np.empty((4, POINTS))
    for f in range(HALF):
        mirror = (POINTS - f) & _LAST
        # The conjugate, whose transform is the conjugate of the inverse times the number of points.
        work[0, f], work[1, f] = real[f], -imaginary[f]
        work[0, mirror], work[1, mirror] = real[f], imaginary[f]
    work[1, 0] = work[1, POINTS // 2] = 0.0
    _transform(work)
    return work[2] / (POINTS * _DAMPING)


@njit(error_model="numpy")
def _transform(work):
    """Transform rows 0 and 1 of float64[4, POINTS], real and imaginary parts, into rows 2 and 3."""
    _eighths(work[0], work[1], work[2], work[3], POINTS // 8, 1)
    _eighths(work[2], work[3], work[0], work[1], POINTS // 64, 8)
    _eighths(work[0], work[1], work[2], work[3], POINTS // 512, 64)


@njit(error_model="numpy", fastmath={"contract"})
def _eighths(x, xi, y, yi, groups, stride):
    """One of three passes: sums of eight, the result in order (T. G. Stockham, 1966; radix 8)."""
    b = stride * groups
    for p in range(groups):
        t = p * stride
        for q in range(stride):
            i, o = q + t, q + 8 * t
            s0, s0i, d0, d0i = x[i] + x[i + 4 * b], xi[i] + xi[i + 4 * b], x[i] - x[i + 4 * b], xi[i] - xi[i + 4 * b]
            i += b
            s1, s1i, d1, d1i = x[i] + x[i + 4 * b], xi[i] + xi[i + 4 * b], x[i] - x[i + 4 * b], xi[i] - xi[i + 4 * b]
            i += b
            s2, s2i, d2, d2i = x[i] + x[i + 4 * b], xi[i] + xi[i + 4 * b], x[i] - x[i + 4 * b], xi[i] - xi[i + 4 * b]
            i += b
            s3, s3i, d3, d3i = x[i] + x[i + 4 * b], xi[i] + xi[i + 4 * b], x[i] - x[i + 4 * b], xi[i] - xi[i + 4 * b]
            # Even results are a transform of four sums.
            e0, e0i, e2, e2i = s0 + s2, s0i + s2i, s0 - s2, s0i - s2i
            e1, e1i, e3, e3i = s1 + s3, s1i + s3i, s1i - s3i, s3 - s1
            y[o], yi[o] = e0 + e1, e0i + e1i
            _turned(y, yi, o + 4 * stride, e0 - e1, e0i - e1i, 4 * t)
            _turned(y, yi, o + 2 * stride, e2 + e3, e2i + e3i, 2 * t)
            _turned(y, yi, o + 6 * stride, e2 - e3, e2i - e3i, 6 * t)
            # Odd ones are one of four differences, turned by an eighth more each.
            f1, f1i = _ROOT_HALF * (d1 + d1i), _ROOT_HALF * (d1i - d1)
            f3, f3i = _ROOT_HALF * (d3i - d3), -_ROOT_HALF * (d3 + d3i)
            g0, g0i, g2, g2i = d0 + d2i, d0i - d2, d0 - d2i, d0i + d2
            g1, g1i, g3, g3i = f1 + f3, f1i + f3i, f1i - f3i, f3 - f1
            _turned(y, yi, o + stride, g0 + g1, g0i + g1i, t)
            _turned(y, yi, o + 5 * stride, g0 - g1, g0i - g1i, 5 * t)
            _turned(y, yi, o + 3 * stride, g2 + g3, g2i + g3i, 3 * t)
            _turned(y, yi, o + 7 * stride, g2 - g3, g2i - g3i, 7 * t)


@njit(error_model="numpy", fastmath={"contract"})
def _turned(y, yi, place, real, imaginary, turn):
    """Write a number turned by so many 512ths."""
    y[place] = real * _COSINE[turn] - imaginary * _SINE[turn]
    yi[place] = real * _SINE[turn] + imaginary * _COSINE[turn]


@njit(error_model="numpy")
def shift(place, real, imaginary):
    """Multiply a transform by that of a constant time, in steps of the grid."""
    if place >= POINTS - 1:
        real[:] = 0.0
        imaginary[:] = 0.0
        return
    low = int(place)
    lower, upper = (1 - (place - low)) * _DAMPING[low], (place - low) * _DAMPING[low + 1]
    for f in range(HALF):
        here, following = f * low & _LAST, f * (low + 1) & _LAST
        c = lower * _COSINE[here] + upper * _COSINE[following]
        s = lower * _SINE[here] + upper * _SINE[following]
        r = real[f]
        real[f] = r * c - imaginary[f] * s
        imaginary[f] = r * s + imaginary[f] * c


@njit(error_model="numpy", fastmath={"contract"})
def exponential(mean, real, imaginary, out):
    """Fill in float64[2, HALF], the transform of a Poisson number, of that mean, of times with a given transform.

    ``exp(mean (x - 1))`` by its series at a small part of the exponent, squared as often as it was halved.
    """
    halvings = 0
    factor = mean
    while 2 * factor > _SMALL:
        factor /= 2
        halvings += 1
    out[0] = 1.0
    out[1] = 0.0
    for term in range(_TERMS, 0, -1):
        part = factor / term
        for f in range(HALF):
            x, y, r, i = part * (real[f] - 1), part * imaginary[f], out[0, f], out[1, f]
            out[0, f], out[1, f] = 1 + r * x - i * y, r * y + i * x
    for _ in range(halvings):
        for f in range(HALF):
            r, i = out[0, f], out[1, f]
            out[0, f], out[1, f] = r * r - i * i, 2 * r * i
