import json
import re
from datetime import date, timedelta

import numpy as np
import pytest

from fleetopt.workload.arrivals import peak_rate
from fleetopt.workload.demo import DEMO_SOURCES, demo_day

FIRST = date(2026, 3, 2)
AZURE_ROW = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d):(\d\d):(\d\d)\.(\d{7}),(\d+),(\d+)")

Request = tuple[float, int, int]


def parse_azure(content: bytes, day: date) -> tuple[list[Request], list[str], int]:
    header, *lines = content.decode("ascii").split("\r\n")
    assert header == "TIMESTAMP,ContextTokens,GeneratedTokens"
    good, broken = [], []
    for line in lines:
        match = AZURE_ROW.fullmatch(line)
        if match is None:
            broken.append(line)
            continue
        assert match[1] == day.isoformat()
        hour, minute, second, ticks, prompt, output = map(int, match.groups()[1:])
        good.append((hour * 3600 + minute * 60 + second + ticks / 1e7, prompt, output))
    return good, broken, len(lines) - len(set(lines))


def parse_mooncake(content: bytes, day: date) -> tuple[list[Request], list[str], int]:
    assert content.endswith(b"}\n")
    lines = content.decode("ascii").splitlines()
    good, broken = [], []
    for line in lines:
        try:
            row = json.loads(line)
            prompt, output = row["input_length"], row["output_length"]
        except (ValueError, KeyError):
            broken.append(line)
            continue
        assert len(row["hash_ids"]) == -(-prompt // 512)
        good.append((row["timestamp"] / 1000 - 86_400 * (day - FIRST).days, prompt, output))
    return good, broken, len(lines) - len(set(lines))


def parse(name: str, day: date, seed: int = 1) -> tuple[list[Request], list[str], int]:
    content = demo_day(name, day, first_day=FIRST, seed=seed)
    return (parse_azure if DEMO_SOURCES[name].log_format == "azure" else parse_mooncake)(content, day)


@pytest.mark.parametrize("name", DEMO_SOURCES)
@pytest.mark.parametrize("offset", [0, 5, 34])
def test_files_are_in_the_format_with_a_few_flaws(name: str, offset: int) -> None:
    requests, broken, n_duplicates = parse(name, FIRST + timedelta(days=offset))
    second, prompt, output = map(np.array, zip(*requests, strict=True))
    assert (np.diff(second) >= 0).all()
    assert second.min() >= 0
    assert second.max() < 86_400
    assert min(prompt.min(), output.min()) >= 1
    assert n_duplicates == 3
    assert 2 <= len(broken) < 0.005 * len(requests)


def test_crlf_everywhere_and_none_at_the_end() -> None:
    content = demo_day("code", FIRST, first_day=FIRST, seed=1)
    assert content.count(b"\n") == content.count(b"\r\n") == content.count(b"\r")
    assert not content.endswith(b"\n")


def test_archetypes_look_like_themselves() -> None:
    medians = {}
    for name in DEMO_SOURCES:
        requests = [row for day in range(5) for row in parse(name, FIRST + timedelta(days=day))[0]]
        _, prompt, output = map(np.array, zip(*requests, strict=True))
        medians[name] = (np.median(prompt), np.median(output), len(requests) / 5)
        assert prompt.max() <= 30_000
    assert medians["chat"] == pytest.approx((800, 200, 3600), rel=0.15)
    assert medians["code"] == pytest.approx((1800, 28, 3200), rel=0.15)
    assert medians["agent"] == pytest.approx((5500, 300, 1500), rel=0.15)


def test_code_prompts_pile_up_at_the_context_cap() -> None:
    prompts = np.array([prompt for _, prompt, _ in parse("code", FIRST)[0]])
    assert prompts.max() == 7437
    assert 0.01 < (prompts == 7437).mean() < 0.08


@pytest.mark.parametrize(("name", "lowest"), [("chat", 2.0), ("code", 2.0), ("agent", 1.0)])
def test_a_working_day_has_a_peak_worth_planning_for(name: str, lowest: float) -> None:
    seconds = np.array([int(second) for second, _, _ in parse(name, FIRST)[0]])
    assert lowest < peak_rate(seconds, np.ones(len(seconds), np.int64), 60).rate_rps < 8


def test_weekends_are_quieter_and_volume_grows() -> None:
    working = [len(parse("code", FIRST + timedelta(days=day))[0]) for day in range(5)]
    assert len(parse("code", FIRST + timedelta(days=5))[0]) < 0.6 * np.mean(working)
    later = [len(parse("code", FIRST + timedelta(days=140 + day))[0]) for day in range(5)]
    assert 1.4 < np.mean(later) / np.mean(working) < 2.2  # exp(0.004 * 140) = 1.75


def test_content_depends_on_source_day_and_seed_alone() -> None:
    def make(name: str, day: int, seed: int) -> bytes:
        return demo_day(name, FIRST + timedelta(days=day), first_day=FIRST, seed=seed)

    assert make("chat", 3, 1) == make("chat", 3, 1)
    assert make("chat", 3, 1) != make("chat", 3, 2)
    lengths = [[row[1:] for row in parse("chat", FIRST + timedelta(days=day))[0]][:50] for day in (0, 1)]
    assert lengths[0] != lengths[1]


def test_block_hashes_are_shared_only_at_the_front() -> None:
    own: list[tuple[int, ...]] = []
    for offset in range(2):
        for line in demo_day("agent", FIRST + timedelta(days=offset), first_day=FIRST, seed=1).splitlines():
            try:
                hashes = json.loads(line)["hash_ids"]
            except ValueError:
                continue
            assert hashes[0] < 8
            own.append(tuple(hashes[1:]))
    distinct = {hashes for hashes in own if hashes}
    assert len({h for hashes in distinct for h in hashes}) == sum(map(len, distinct))


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="no demo source 'rag'"):
        demo_day("rag", FIRST, first_day=FIRST, seed=1)
    with pytest.raises(ValueError, match="before the first day"):
        demo_day("chat", FIRST - timedelta(days=1), first_day=FIRST, seed=1)
