"""What is unusual about a source's logs, in sentences."""

from fleetopt.reporting.log_notes import count_notes, log_notes, summed
from tests.unit.reporting.samples import QUALITY

CHAT, CODE, AGENT = QUALITY


def test_a_source_with_nothing_unusual_has_no_notes():
    assert list(log_notes(CHAT)) == []


def test_each_finding_is_a_sentence_with_its_figures():
    row = {**CODE, "clock_restarts": 2, "finish_times": 1200, "duplicates": 30, "duplicates_expected": 3.4}
    assert list(log_notes(row)) == [
        "its clock starts again 2 times within a file; segment_starts says where",
        "4.0% of the prompts pile up at 7,437 tokens: they were cut there, and what is longer was never seen",
        "the finish is taken for the arrival of 1,200 requests, for want of a duration, which smooths bursts",
        "about 3 of the 30 duplicates are likely requests of their own that look alike; ids would tell",
    ]
    assert next(log_notes({**CHAT, "other_models": CHAT["requests"]})).startswith(
        "all of its requests are of other models"
    )
    assert "starts again 1 time within" in next(log_notes({**CHAT, "clock_restarts": 1}))
    assert "steps of 3 s (1,181 distinct ones)" in next(log_notes(AGENT))


def test_a_mistyped_path_is_noted():
    assert list(log_notes({**CHAT, "fields_absent": "model status"})) == [
        "its mapping declares model, status, for which no line has a value: look whether the path is right"
    ]
    days = [{**CHAT, "fields_absent": absent} for absent in ("model status", "status")]
    assert summed(days)["fields_absent"] == "status"
    assert summed([*days, CHAT])["fields_absent"] is None


def test_what_is_not_demand_is_counted():
    assert list(count_notes(CHAT)) == ["of the lines 3 repeat another; each request counts once"]
    assert list(count_notes({**AGENT, "cache_hits": 5}))[-1] == (
        "of its requests 12 failed, 5 were answered by a cache: no demand on these GPUs"
    )


def test_days_are_summed_and_the_worst_of_them_kept():
    worse = {**CODE, "prompt_cap_tokens": 4096, "prompt_capped_fraction": 0.1, "time_step_s": 1.0}
    total = summed([CODE, worse, {**CODE, "prompt_cap_tokens": None, "prompt_capped_fraction": None}])
    assert total["lines"] == 3 * CODE["lines"]
    assert (total["prompt_cap_tokens"], total["prompt_capped_fraction"], total["time_step_s"]) == (4096, 0.1, 1.0)
    assert total["output_cap_tokens"] is None
