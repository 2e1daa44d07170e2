"""What a replica computed while it answered a request, from the arrivals and token times of all its requests."""

import numpy as np

_SWEEPS = 60
_BLOCK = 256


def work_of_answers(
    arrival_s: np.ndarray,
    first_s: np.ndarray,
    last_s: np.ndarray,
    prompt_tokens: np.ndarray,
    output_tokens: np.ndarray,
    used: np.ndarray,
) -> np.ndarray:
    """Iterations and tokens between the first and the last token of requests, their own with them.

    Parameters
    ----------
    arrival_s, first_s, last_s : np.ndarray
        float64[n], when each request of the replica arrived, and had its first and its last token, s.
    prompt_tokens, output_tokens : np.ndarray
        int64[n].
    used : np.ndarray
        int64[k], the requests that are asked for.

    Returns
    -------
    np.ndarray
        float64[k, 5]: iterations, tokens decoded, context read for them, prompt tokens computed, and their attention.
    """
    prompt = prompt_tokens.astype(np.float64)
    steps = output_tokens - 1.0
    decoding = np.flatnonzero((steps > 0) & (last_s > first_s))
    begin, end = iteration_clock(first_s, last_s, steps, decoding)
    rows = np.empty((len(used), 5))
    rows[:, 0] = steps[used]
    for block in np.array_split(np.arange(len(used)), max(1, -(-len(used) // _BLOCK))):
        own = used[block][:, None]
        since, until = np.maximum(begin[own], begin[decoding]), np.minimum(end[own], end[decoding])
        shared = np.maximum(until - since, 0.0)
        context = prompt[decoding] + 1 + (since + until) / 2 - begin[decoding]
        rows[block, 1] = shared.sum(axis=1)
        rows[block, 2] = (shared * context).sum(axis=1)
    for column, work in ((3, prompt), (4, prompt**2 / 2)):
        time_s, done = _prefilled(arrival_s, first_s, work)
        rows[:, column] = np.interp(last_s[used], time_s, done) - np.interp(first_s[used], time_s, done)
    return rows


def iteration_clock(
    first_s: np.ndarray, last_s: np.ndarray, steps: np.ndarray, decoding: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Count iterations: how many there had been when each request had its first and its last token, float64[n] each.

    Parameters
    ----------
    first_s, last_s : np.ndarray
        float64[n], s.
    steps : np.ndarray
        float64[n], iterations between the two.
    decoding : np.ndarray
        int64[k], the requests that decode at all; the others count nothing.

    Notes
    -----
    Each request tells how many iterations its own stretch of time holds, not where in it they are; where stretches
    overlap, all have to agree. Multiplicative algebraic reconstruction (Gordon, Bender and Herman 1970) from a clock
    that every request ticks evenly.
    """
    knots = np.unique(np.concatenate([first_s, last_s]))
    begin, end = np.searchsorted(knots, first_s[decoding]), np.searchsorted(knots, last_s[decoding])
    length_s = np.diff(knots)
    counted = steps[decoding]
    pace = _mean_over(begin, end, counted / (last_s - first_s)[decoding], len(knots))
    clock = np.concatenate([[0.0], np.cumsum(pace * length_s)])
    for _ in range(_SWEEPS):
        ratio = counted / np.maximum(clock[end] - clock[begin], 1e-12)
        pace *= _mean_over(begin, end, ratio, len(knots))
        clock = np.concatenate([[0.0], np.cumsum(pace * length_s)])
    return clock[np.searchsorted(knots, first_s)], clock[np.searchsorted(knots, last_s)]


def _mean_over(begin: np.ndarray, end: np.ndarray, values: np.ndarray, n_knots: int) -> np.ndarray:
    """Mean of the values whose stretch covers a segment, float64[knots - 1]; 1 where none does."""
    total, count = (
        np.cumsum(
            np.bincount(begin, weights=weights, minlength=n_knots)
            - np.bincount(end, weights=weights, minlength=n_knots)
        )[:-1]
        for weights in (values, np.ones(len(values)))
    )
    covered = count > 0.5
    return np.where(covered, total / np.where(covered, count, 1.0), 1.0)


def _prefilled(arrival_s: np.ndarray, first_s: np.ndarray, work: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much prefill a replica has done at what time: it works on a prompt from its turn to its first token."""
    done_s, group = np.unique(first_s, return_inverse=True)
    earliest_s = np.full(len(done_s), np.inf)
    np.minimum.at(earliest_s, group, arrival_s)
    turn_s = np.maximum(earliest_s, np.concatenate([[-np.inf], done_s[:-1]]))
    total = np.cumsum(np.bincount(group, weights=work))
    before = np.concatenate([[0.0], total[:-1]])
    return np.column_stack([turn_s, done_s]).ravel(), np.column_stack([before, total]).ravel()
