"""What a mixture asks of a replica: moments in one pass over its points, and the few points that stand for them."""

# mypy: ignore-errors
# Numba infers the types, and NumPy's stubs do not know the fields of a record.

import numpy as np
from numba import njit

from fleetopt.compiled import compiled

_BODY_POINTS, _POINTS_PER_DECADE = 100, 50
_JOINT_PROMPT, _JOINT_OUTPUT = (10, 4), (8, 3)
_DECADES = 6
_ROUNDING = 1e-12
_REORDERED = {"reassoc", "contract", "nsz", "arcp"}
"""Sums may be added in any order, so that they are added eight at a time."""


def _tail(points_per_decade):
    """Shares above a value at which a new group starts: ever finer towards the largest values."""
    return 10.0 ** (-np.arange(1, _DECADES * points_per_decade + 1) / points_per_decade)


_TAIL, _PROMPT_TAIL, _OUTPUT_TAIL = (_tail(n) for n in (_POINTS_PER_DECADE, _JOINT_PROMPT[1], _JOINT_OUTPUT[1]))


@compiled(error_model="numpy")
def measure(work, lengths, overflow_quantile):
    """Fill in the moments of a mixture and condense it.

    Parameters
    ----------
    work : WORK[1], the profile and the chunk filled in
    lengths : float64[3, n], weight (made to sum to 1), prompt and output
    overflow_quantile : of the standard normal distribution; the KV cache may overflow beyond it

    Returns
    -------
    prompts, outputs, joint : float64[3, k], float64[2, k] and float64[3, k], shares first; prompts with their GPU time
    """
    share, prompt, output = lengths[0], lengths[1], lengths[2]
    share /= share.sum()
    _sum_moments(work[0], share, prompt, output)
    work[0].slots = _slots(work[0], share, prompt, output, overflow_quantile)
    prompts, by_prompt = _condense(share, prompt, _JOINT_PROMPT[0], _PROMPT_TAIL)
    outputs, by_output = _condense(share, output, _JOINT_OUTPUT[0], _OUTPUT_TAIL)
    timed = np.empty((3, prompts.shape[1]))
    timed[:2] = prompts
    timed[2] = work[0].per_prefill_token_s * prompts[1] + work[0].per_prefill_attention_s * prompts[1] ** 2 / 2
    return timed, outputs, _condense_jointly(share, prompt, output, by_prompt, by_output)


@njit(error_model="numpy", fastmath=_REORDERED)
def _sum_moments(work, share, prompt, output):
    """Fill in the moments.

    A request makes ``output - 1`` decode steps at contexts ``prompt + 1 ... prompt + output - 1``; the chunks of its
    prompt attend to ``prompt^2 / 2`` tokens in all, however they are cut.
    """
    mean_prompt, square, cube, mean_steps, mean_chunks, context, spread = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(share.size):
        steps = output[i] - 1
        of_prompt = share[i] * prompt[i]
        of_steps = share[i] * steps
        mean_prompt += of_prompt
        square += of_prompt * prompt[i]
        cube += of_prompt * prompt[i] * prompt[i]
        mean_steps += of_steps
        mean_chunks += share[i] * np.ceil(prompt[i] / work.chunk_tokens)
        context += of_steps * (prompt[i] + output[i] / 2)
        spread += of_steps * (steps * steps - 1)
    variance = 0.0
    if mean_steps > 0:
        # The context of a step is uniform between prompt + 1 and prompt + steps.
        middle = context / mean_steps
        for i in range(share.size):
            variance += share[i] * (output[i] - 1) * (prompt[i] + output[i] / 2 - middle) ** 2
        variance = work.per_context_token_s**2 * (variance + spread / 12) / mean_steps
    half_block = work.block_tokens / 2
    work.prompt_tokens = mean_prompt
    work.prefill_s = work.per_prefill_token_s * mean_prompt + work.per_prefill_attention_s * square / 2
    work.prefill_only_s = work.prefill_only_per_token_s * mean_prompt + work.prefill_only_per_attention_s * square / 2
    work.decode_s = work.per_sequence_s * mean_steps + work.per_context_token_s * context
    work.tokens = mean_prompt + mean_steps
    work.steps = mean_steps
    work.iterations = mean_chunks + mean_steps
    work.step_s = work.decode_s / mean_steps if mean_steps > 0 else 0.0
    work.step_variance_s2 = max(variance, 0.0)
    work.decode_kv_tokens = context + half_block * mean_steps
    work.prefill_kv_tokens = square / 2 + half_block * mean_prompt
    work.prefill_kv_token_s = work.per_prefill_token_s * square / 2 + work.per_prefill_attention_s * cube / 3


@njit(error_model="numpy", fastmath=_REORDERED)
def _slots(work, share, prompt, output, overflow_quantile):
    """Requests that fit at once.

    A running request holds a ramp from 0 to its prompt while it prefills and from there to its full length while it
    decodes; ``m`` requests fit if ``m mean + z sqrt(m) deviation`` does.
    """
    half_block = work.block_tokens / 2
    first, second = 0.0, 0.0
    for i in range(share.size):
        p, o = prompt[i], output[i]
        chunks, steps = np.ceil(p / work.chunk_tokens), o - 1
        first += share[i] * (chunks * (p / 2 + half_block) + steps * (p + o / 2 + half_block))
        second += share[i] * (chunks * p * p / 3 + steps * (p * p + p * o + o * o / 3))
    mean = first / work.iterations
    spread = overflow_quantile * np.sqrt(max(second / work.iterations - mean**2, 0.0))
    root = (np.sqrt(spread**2 + 4 * mean * work.kv_tokens) - spread) / (2 * mean)
    return max(1, min(int(work.max_sequences), int(root**2)))


@njit(error_model="numpy")
def _condense(share, values, joint_body, joint_tail):
    """Condense a distribution to a few hundred points, whose means are kept; and the coarser group of each value.

    Groups hold equal shares in the body, and ever less towards the largest values.
    """
    order = ascending(values)
    group = np.empty(values.size, np.int64)
    points = np.empty((2, values.size))
    last, k, cumulative, next_above = -1, 0, 0.0, 2.0
    in_tail, in_joint_tail, joint_group = 0, 0, 0
    mass, moment, first = 0.0, 0.0, values[order[0]]
    for i in order:
        cumulative += share[i]
        above = max(1 - (cumulative - share[i] / 2), 1e-6)
        if above <= next_above:
            while in_tail < _TAIL.size and above <= _TAIL[in_tail]:
                in_tail += 1
            while in_joint_tail < joint_tail.size and above <= joint_tail[in_joint_tail]:
                in_joint_tail += 1
            joint_group = int((1 - above) * joint_body) + in_joint_tail
            in_body = int((1 - above) * _BODY_POINTS)
            if in_body + in_tail != last and last >= 0:
                points[0, k], points[1, k] = mass, first + moment / mass
                mass, moment, first = 0.0, 0.0, values[i]
                k += 1
            last = in_body + in_tail
            # No group changes before; joint groups change with the others or at a share of their own.
            next_above = max(1 - (in_body + 1) / _BODY_POINTS, 1 - (int((1 - above) * joint_body) + 1) / joint_body)
            next_above = max(next_above, _TAIL[in_tail] if in_tail < _TAIL.size else 0.0)
            next_above = max(next_above, joint_tail[in_joint_tail] if in_joint_tail < joint_tail.size else 0.0)
            next_above += _ROUNDING
        group[i] = joint_group
        mass += share[i]
        moment += share[i] * (values[i] - first)  # so that the mean of equal lengths is that length
    points[0, k], points[1, k] = mass, first + moment / mass
    return points[:, : k + 1].copy(), group


@njit(error_model="numpy")
def _condense_jointly(share, prompt, output, by_prompt, by_output):
    """Condense a joint distribution to a few hundred points, from the groups of prompts and of outputs."""
    width = by_output.max() + 1
    cells = np.zeros(((by_prompt.max() + 1) * width, 5))  # share, its first prompt and output, sums beyond these
    last, mass, prompts, outputs = by_prompt[0] * width + by_output[0], 0.0, 0.0, 0.0
    cells[last, 1], cells[last, 2] = prompt[0], output[0]
    first_prompt, first_output = prompt[0], output[0]
    for i in range(share.size):
        place = by_prompt[i] * width + by_output[i]
        if place != last:  # neighbours are often of one cell
            cells[last, 0] += mass
            cells[last, 3] += prompts
            cells[last, 4] += outputs
            last, mass, prompts, outputs = place, 0.0, 0.0, 0.0
            if cells[place, 0] == 0:
                cells[place, 1], cells[place, 2] = prompt[i], output[i]
            first_prompt, first_output = cells[place, 1], cells[place, 2]
        mass += share[i]
        prompts += share[i] * (prompt[i] - first_prompt)
        outputs += share[i] * (output[i] - first_output)
    cells[last, 0] += mass
    cells[last, 3] += prompts
    cells[last, 4] += outputs
    points = np.empty((3, len(cells)))
    k = 0
    for cell in cells:
        if cell[0] > 0:
            points[0, k] = cell[0]
            points[1, k] = cell[1] + cell[3] / cell[0]
            points[2, k] = cell[2] + cell[4] / cell[0]
            k += 1
    return points[:, :k].copy()


@njit(error_model="numpy")
def ascending(values):
    """int64[n], the order in which positive values rise, ties as they come.

    Points often come sorted. Others are first put into about two buckets a point, by the bits of the floating-point
    number, which rise with it.
    """
    n = values.size
    order = np.arange(n)
    is_sorted = True
    for i in range(1, n):
        if values[i] < values[i - 1]:
            is_sorted = False
            break
    if is_sorted:
        return order
    bits = values.view(np.int64)
    lowest, span = bits.min(), bits.max() - bits.min()
    shift = 0
    while span >> shift >= 2 * n:
        shift += 1
    end = np.zeros((span >> shift) + 2, np.int64)
    for i in range(n):
        end[((bits[i] - lowest) >> shift) + 1] += 1
    end = np.cumsum(end)
    for i in range(n):
        bucket = (bits[i] - lowest) >> shift
        order[end[bucket]] = i
        end[bucket] += 1
    for last in range(1, n):
        i, place = order[last], last
        while place > 0 and values[order[place - 1]] > values[i]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = i
    return order


@compiled(error_model="numpy")
def unloaded_ttft_quantile_s(works, prompts, probability):
    """Quantile of the time to first token on an idle replica, s: lines between the middles of the prompts' shares."""
    before, last_s, last_middle = 0.0, 0.0, 0.0
    for k in range(prompts.shape[1]):
        middle = before + prompts[0, k] / 2
        ttft_s = unloaded_ttft_s(works[0], prompts[1, k])
        if middle >= probability:
            if k == 0:
                return ttft_s
            return last_s + (ttft_s - last_s) * (probability - last_middle) / (middle - last_middle)
        before += prompts[0, k]
        last_s, last_middle = ttft_s, middle
    return last_s


@njit(error_model="numpy")
def unloaded_ttft_s(work, prompt):
    """Time to first token of a prompt on an idle replica, s; it rises with the prompt."""
    chunks = np.ceil(prompt / work.chunk_tokens)
    each_s = work.prefill_only_per_token_s + work.prefill_only_per_attention_s * prompt / 2
    return chunks * work.prefill_only_base_s + prompt * each_s
