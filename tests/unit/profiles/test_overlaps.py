"""What was computed beside a request, against a replica whose every iteration is known."""

import numpy as np

from fleetopt.profiles.overlaps import iteration_clock, work_of_answers


def replica(n: int = 60, seed: int = 5) -> dict[str, np.ndarray]:
    """Requests of a replica that decodes in iterations of uneven length, and the exact work beside each."""
    rng = np.random.default_rng(seed)
    times_s = np.cumsum(rng.uniform(0.005, 0.06, 2000))
    begin = np.sort(rng.integers(1, 1500, n))
    steps = rng.integers(9, 300, n)
    prompt = rng.integers(10, 4000, n)
    end = begin + steps
    work = np.zeros((n, 5))
    for i in range(n):
        iterations = np.arange(begin[i] + 1, end[i] + 1)
        running = (begin < iterations[:, None]) & (iterations[:, None] <= end)
        # Of the iteration that begins at place k, a request reads its prompt and what it has by then, this token too.
        context = prompt + iterations[:, None] - begin
        work[i, :3] = steps[i], running.sum(), (running * context).sum()
        meanwhile = (begin > begin[i]) & (begin <= end[i])
        work[i, 3:] = prompt[meanwhile].sum(), (prompt[meanwhile] ** 2 / 2).sum()
    return {
        "arrival_s": times_s[begin - 1],
        "first_s": times_s[begin],
        "last_s": times_s[end],
        "prompt_tokens": prompt,
        "output_tokens": steps + 1,
        "work": work,
    }


def estimated(made: dict[str, np.ndarray]) -> np.ndarray:
    known = {key: value for key, value in made.items() if key != "work"}
    return work_of_answers(**known, used=np.arange(len(made["work"])))


def test_work_beside_answers_is_found():
    made = replica()
    found = estimated(made)
    assert (found[:, 0] == made["work"][:, 0]).all()
    relative = np.abs(found[:, 1:3] / made["work"][:, 1:3] - 1)
    assert np.median(relative) < 0.01
    assert relative.max() < 0.05


def test_prefill_beside_answers_is_found_but_for_what_is_cut_at_their_end():
    made = replica()
    found, true = estimated(made)[:, 3], made["work"][:, 3]
    assert np.abs(found - true).max() <= made["prompt_tokens"].max()
    assert np.median(np.abs(found / np.maximum(true, 1) - 1)) < 0.01


def test_the_clock_ticks_as_often_as_each_request_says():
    made = replica()
    steps = made["output_tokens"] - 1.0
    begin, end = iteration_clock(made["first_s"], made["last_s"], steps, np.arange(len(steps)))
    np.testing.assert_allclose(end - begin, steps, rtol=0.01)


def test_requests_that_decode_nothing_stop_no_clock():
    made = replica()
    more = {key: np.concatenate([values, values[:3]]) for key, values in made.items() if key != "work"}
    more["last_s"][-3:], more["output_tokens"][-3:] = more["first_s"][-3:], 1
    used = np.arange(len(made["work"]))
    np.testing.assert_allclose(work_of_answers(**more, used=used)[:, :3], estimated(made)[:, :3], rtol=1e-9)
