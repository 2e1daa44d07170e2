"""Each format: its sample against values read off by hand, what it is told from, and what is refused."""

import io
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from fleetopt.errors import InputError
from fleetopt.ingest.formats import (
    FORMATS,
    Csv,
    Sample,
    detect_format,
    get_format,
    sample_of_lines,
    sample_of_parquet,
)
from fleetopt.ingest.formats.refused import REFUSED
from fleetopt.ingest.formats.sample import DETECTION_BYTES, value_at
from fleetopt.ingest.mapping import Condition, Mapping, StatusField, TimeField
from fleetopt.ingest.reasons import REASONS
from fleetopt.schemas import TRACE_SCHEMA
from tests.reference.ingest_records import How, read_rows

SAMPLES = Path(__file__).parents[3] / "data" / "samples"
HOW = How(clock_start=datetime(2026, 10, 5, tzinfo=UTC))
FORMAT_OF = {
    "azure.csv": "azure",
    "azure-2024.csv": "azure",
    "azure-2025.csv": "azure",
    "burstgpt.csv": "burstgpt",
    "burstgpt-3.csv": "burstgpt",
    "mooncake.jsonl": "mooncake",
    "aiperf.jsonl": "mooncake",
    "qwen-bailian.jsonl": "qwen-bailian",
    "splitwise.csv": "splitwise",
    "vidur.csv": "vidur",
    "otlp.jsonl": "otlp",
    "openai-usage.jsonl": "openai-usage",
    "litellm-spend.csv": "litellm-spend",
    "litellm-spend.parquet": "litellm-spend",
    "litellm-payload.jsonl": "litellm-payload",
    "envoy-ai-gateway.jsonl": "envoy-ai-gateway",
    "sglang-requests.jsonl": "sglang-requests",
    "sglang-metrics.jsonl": "sglang-metrics",
    "semantic-router-events.jsonl": "semantic-router-events",
    "semantic-router-replay.jsonl": "semantic-router-replay",
    "fleetopt.parquet": "fleetopt",
}
TEXT_SAMPLES = sorted(name for name in FORMAT_OF if not name.endswith(".parquet"))


def at(minute, second, microsecond=0, hour=8):
    return datetime(2026, 10, 5, hour, minute, second, microsecond, tzinfo=UTC)


def sample_of(name):
    path = SAMPLES / name
    return sample_of_parquet(path) if path.suffix == ".parquet" else sample_of_lines(path.read_bytes())


def names_of(sample):
    return [name for name, log_format in FORMATS.items() if log_format.recognises(sample)]


def read(data, name):
    return read_rows(data, get_format(name), HOW)


def outcomes(rows):
    return dict(
        Counter(
            "note" if row["is_note"] else "other" if row["is_other"] else row["reason"] or row["outcome"]
            for row in rows
        )
    )


# Telling formats apart


def test_every_format_has_a_sample_and_every_sample_a_format():
    assert {path.name for path in SAMPLES.iterdir()} - {"README.md", "fleet.toml", ".gitattributes"} == set(FORMAT_OF)
    assert set(FORMAT_OF.values()) == set(FORMATS)
    assert all(f"`{name}`" in (SAMPLES / "README.md").read_text() for name in FORMAT_OF)


@pytest.mark.parametrize("name", sorted(FORMAT_OF))
def test_a_sample_is_recognised_by_its_own_format_and_by_no_other(name):
    sample = sample_of(name)
    assert names_of(sample) == [FORMAT_OF[name]]
    assert detect_format(sample).name == FORMAT_OF[name]


@pytest.mark.parametrize("name", TEXT_SAMPLES)
def test_detection_does_not_mind_line_ends_marks_and_broken_lines(name):
    data, found = (SAMPLES / name).read_bytes(), [FORMAT_OF[name]]
    unix = data.replace(b"\r\n", b"\n")
    broken = b'{"broken\n\n\xff\xfe\n[1, 2]\n12\n{"a": ' + b"9" * 5000 + b"}\n" + b"[" * 5000 + b"\n"
    for changed in (unix, unix.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + data, broken + data, data[:-7]):
        assert names_of(sample_of_lines(changed)) == found


@pytest.mark.parametrize("name", sorted(set(TEXT_SAMPLES) - {"otlp.jsonl"}))
def test_a_parquet_file_of_the_same_columns_is_recognised(name):
    log_format, data = get_format(FORMAT_OF[name]), (SAMPLES / name).read_bytes()
    read_as = pl.read_csv if isinstance(log_format.container, Csv) else pl.read_ndjson
    buffer = io.BytesIO()
    read_as(data, infer_schema_length=None).write_parquet(buffer)
    buffer.seek(0)
    assert names_of(sample_of_parquet(buffer)) == [log_format.name]


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_format_recognises_and_reads_its_own_example(name):
    example = get_format(name).example.encode()
    assert names_of(sample_of_lines(example)) == [name]
    row = read(example, name)[-1]
    assert (row["reason"], row["outcome"]) == (None, "served")
    assert row["arrival_time"] is not None


@pytest.mark.parametrize(
    "beginning", [b'{"resourceSpans":[{"scopeSpans":[{', b' { "resource_spans" : [ {"resource": {']
)
def test_a_line_of_spans_that_is_longer_than_the_sample_is_recognised(beginning):
    assert names_of(sample_of_lines(beginning + b'"a":' * (DETECTION_BYTES // 4))) == ["otlp"]


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\n\n",
        b"time,prompt,output\n1,2,3",
        b'{"timestamp": 3}',
        b"\x89PNG\r\n\x1a\n",
        b"timestamp,ContextTokens,GeneratedTokens",
        b"TIMESTAMP,ContextTokens,ContextTokens,GeneratedTokens",
        b'"TIMESTAMP","ContextTokens","GeneratedTokens"',
        b'{"timestamp": null, "input_length": 3, "output_length": 4}',
        b'{"chat_id": 4, "input_length": 3, "output_length": 4}',
        b'{"event": "llm_usage"}',
        b'{"id": "x", "created": 1791187200, "usage": null}',
        b'[{"timestamp": 3, "input_length": 3}]',
    ],
)
def test_an_unknown_beginning_is_refused_in_one_line(head):
    with pytest.raises(
        InputError, match=r"^no known log format fits the first lines; name one of: azure, .*, vidur; or say "
    ):
        detect_format(sample_of_lines(head))


def test_a_beginning_that_two_formats_know_is_refused():
    both = FORMATS["azure"].example + "\n" + FORMATS["mooncake"].example
    with pytest.raises(InputError, match=r"^more than one known log format fits .*; name one of: azure, mooncake$"):
        detect_format(sample_of_lines(both.encode()))


def test_only_the_first_lines_and_bytes_are_looked_at():
    assert names_of(sample_of_lines(b"x\n" * 99 + b"TIMESTAMP,ContextTokens,GeneratedTokens\n")) == ["azure"]
    assert names_of(sample_of_lines(b"x\n" * 100 + b"TIMESTAMP,ContextTokens,GeneratedTokens\n")) == []


def test_a_file_that_is_no_parquet_is_refused_in_one_line(tmp_path):
    path = tmp_path / "x.parquet"
    whole = (SAMPLES / "fleetopt.parquet").read_bytes()
    for data in (b"", b"PAR1", whole[:100], whole[: len(whole) // 2] + whole[-8:]):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"^cannot be read as Parquet: ") as error:
            sample_of_parquet(path)
        assert "\n" not in str(error.value)


# What cannot be used

VLLM_LINES = [
    b"INFO 04-10 03:44:50 [logger.py:39] Received request chatcmpl-67ed: prompt: '<s>hi', params: SamplingParams(n=1), "
    b"prompt_token_ids: None, lora_request: None, prompt_adapter_request: None.",
    b"INFO 04-10 03:44:50 [async_llm.py:228] Added request chatcmpl-67ed.",
    b"(APIServer pid=7) INFO 05-19 10:13:11 [logger.py:55] Received request cmpl-1-0: params: SamplingParams(n=1)",
    b"INFO 05-19 10:13:11 [logger.py:55] Generated response cmpl-1-0 (streaming complete): output: 'x'",
    b"INFO 05-19 10:13:11 [loggers.py:271] Engine 000: Avg prompt throughput: 0.0 tokens/s, Running: 18 reqs",
]


@pytest.mark.parametrize("line", VLLM_LINES)
def test_the_text_log_of_vllm_is_refused_with_what_to_turn_on(line):
    with pytest.raises(InputError, match=r"vLLM has no token counts.*--otlp-traces-endpoint.*'openai-usage'"):
        detect_format(sample_of_lines(b"INFO: Started server process\n" + line + b"\n"))


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        (
            b"2025-05-01T01:31:14.787487Z  INFO generate{parameters=x}: text_generation_router::server: "
            b"router/src/server.rs:291: Success",
            "Text Generation Inference has no token counts.*'openai-usage'",
        ),
        (b"[2026-10-05 08:00:00] Finish: obj=GenerateReqInput(rid='7f', text='a ... b')", "--log-requests-format json"),
        (b'{"request_parameters": "{}", "id": "7f", "prompt_tokens": 3, "completion_tokens": 4}', "--enable-metrics"),
    ],
)
def test_other_logs_without_what_is_needed_are_refused_with_what_to_turn_on(line, advice):
    with pytest.raises(InputError, match=advice):
        detect_format(sample_of_lines(line))


def test_advice_names_formats_that_there_are():
    for refused in REFUSED.values():
        assert any(f"'{name}'" in refused.advice for name in FORMATS)
        assert "\n" not in refused.advice
        with pytest.raises(InputError, match=f"log format '{refused.name}' cannot be used: "):
            get_format(refused.name)


def test_an_unknown_format_name_is_refused():
    with pytest.raises(InputError, match="unknown log format 'csv'; known formats: azure, burstgpt, "):
        get_format("csv")


# What formats say of themselves


@pytest.mark.parametrize("log_format", FORMATS.values(), ids=FORMATS)
def test_formats_are_described(log_format):
    assert log_format.name.replace("-", "").isalnum()
    assert log_format.name.islower()
    assert 10 < len(log_format.description) < 80
    assert log_format.description[-1] != "."
    assert len(log_format.example.splitlines()) == (2 if isinstance(log_format.container, Csv) else 1)
    # Any field may stand in an object, so only lines of CSV can be free of text.
    assert log_format.holds_text or isinstance(log_format.container, Csv)


def test_a_mapping_lists_its_paths_and_nothing_else():
    mapping = Mapping(
        time=TimeField(paths=("t", "u"), unit="ms"),
        prompt_tokens=("p",),
        output_tokens=("o", "p"),
        status=StatusField(paths=("s",), served=("ok",)),
        only_when=(Condition(paths=("k", "t"), values=("chat",)),),
        note_when=(Condition(paths=("n",)),),
        null_values=("-",),
    )
    assert set(mapping.paths()) == {"t", "u", "p", "o", "s", "k", "n"}
    assert len(mapping.paths()) == 7


@pytest.mark.parametrize(
    ("value", "path", "found"),
    [
        ({"a": {"b": 1}}, "a.b", 1),
        ({"a.b": 1}, "a.b", 1),
        ({"a": {"b.c": 1}}, "a.b.c", 1),
        ({"a": 3, "a.b": {"c": 1}}, "a.b.c", 1),
        ({"a": [{"b": 1}, {"b": 2}]}, "a.1.b", 2),
        ({"a": [1]}, "a.1", None),
        ({"a": [1]}, "a.b", None),
        ({"a": None}, "a", None),
        ({"ab": 1}, "a", None),
        ({"a": "text"}, "a.b", None),
    ],
)
def test_values_are_found_by_keys_with_dots_and_below_each_other(value, path, found):
    assert value_at(value, path) == found
    assert value_at(json.loads(json.dumps({"x": value})), f"x.{path}") == found


def test_every_reason_is_explained_in_a_sentence():
    assert all(reason.replace("_", "").isalnum() and reason.islower() for reason in REASONS)
    assert all(sentence[0].isupper() and sentence.endswith((".", ").")) for sentence in REASONS.values())


# What the samples hold, read off by hand

OUTCOMES = {
    "azure.csv": {"other": 1, "served": 40},
    "azure-2024.csv": {"other": 1, "served": 25},
    "azure-2025.csv": {"other": 1, "served": 24},
    "burstgpt.csv": {"other": 1, "served": 24, "failed": 2},
    "burstgpt-3.csv": {"other": 1, "served": 24, "failed": 2},
    "mooncake.jsonl": {"served": 40},
    "aiperf.jsonl": {"served": 13, "missing_field": 3},
    "qwen-bailian.jsonl": {"served": 20},
    "splitwise.csv": {"other": 1, "served": 20},
    "vidur.csv": {"other": 1, "served": 20},
    "otlp.jsonl": {"served": 12, "other": 4, "failed": 2, "missing_field": 1},
    "openai-usage.jsonl": {"served": 15, "other": 1, "failed": 1, "missing_field": 1, "zero_tokens": 1},
    "litellm-spend.csv": {"other": 2, "served": 17, "failed": 2, "cache_hit": 1, "negative_tokens": 1},
    "litellm-payload.jsonl": {"served": 13, "failed": 2, "cache_hit": 1, "other": 1},
    "envoy-ai-gateway.jsonl": {"served": 13, "failed": 2, "aborted": 1, "other": 1, "missing_field": 1},
    "sglang-requests.jsonl": {"other": 14, "served": 14, "aborted": 1},
    "sglang-metrics.jsonl": {"served": 12, "aborted": 1, "missing_field": 1},
    "semantic-router-events.jsonl": {"note": 13, "other": 2, "served": 12, "cache_hit": 1, "zero_tokens": 1},
    "semantic-router-replay.jsonl": {
        "served": 11,
        "aborted": 1,
        "failed": 1,
        "cache_hit": 1,
        "missing_field": 1,
        "other": 1,
    },
}
SECONDS = {"e2e_s", "ttft_s", "queue_s"}
EXPECTED = [
    ("azure.csv", 2, 1, {"arrival_time": at(0, 0, 352183), "prompt_tokens": 743, "output_tokens": 211}),
    ("azure-2024.csv", 2, 1, {"arrival_time": at(0, 0, 35030), "prompt_tokens": 330, "output_tokens": 224}),
    ("azure-2024.csv", 5, 1, {"arrival_time": at(0, 4), "prompt_tokens": 1391, "output_tokens": 261}),
    ("azure-2025.csv", 3, 1, {"arrival_time": at(0, 3, 2000), "prompt_tokens": 2550, "output_tokens": 36}),
    (
        "burstgpt.csv",
        2,
        1,
        {
            **{"arrival_time": at(0, 9, hour=0), "prompt_tokens": 1097, "output_tokens": 68, "model": "GPT-4"},
            **{"archetype": "api-log", "e2e_s": None, "session": None},
        },
    ),
    ("burstgpt.csv", 10, 1, {"outcome": "failed", "prompt_tokens": 476, "output_tokens": 0}),
    (
        "burstgpt-3.csv",
        2,
        1,
        # 19,440,110 s are 225 days and 110 s.
        {
            **{"arrival_time": datetime(2027, 5, 18, 0, 1, 50, tzinfo=UTC), "e2e_s": 1.0, "model": "ChatGPT"},
            **{"session": None, "archetype": "api-log"},
        },
    ),
    (
        "burstgpt-3.csv",
        21,
        1,
        {"outcome": "failed", "prompt_tokens": 0, "output_tokens": 0, "archetype": "conversation-log"},
    ),
    ("mooncake.jsonl", 2, 1, {"arrival_time": at(0, 0, hour=0), "prompt_tokens": 3871, "output_tokens": 162}),
    ("aiperf.jsonl", 5, 1, {"arrival_time": at(0, 13, 119000, hour=0), "prompt_tokens": 725, "output_tokens": 92}),
    ("aiperf.jsonl", 10, 1, {"reason": "missing_field", "arrival_time": None}),
    ("aiperf.jsonl", 14, 1, {"arrival_time": at(0, 31, 352649, hour=0), "prompt_tokens": 1321}),
    ("qwen-bailian.jsonl", 1, 1, {"arrival_time": at(1, 2, 318000, hour=0), "archetype": "search", "id": None}),
    ("splitwise.csv", 3, 1, {"arrival_time": at(0, 0, 996648, hour=0), "prompt_tokens": 2410, "output_tokens": 33}),
    ("vidur.csv", 2, 1, {"arrival_time": at(0, 0, 130656, hour=0), "prompt_tokens": 1502, "output_tokens": 55}),
    (
        "otlp.jsonl",
        1,
        1,
        {
            **{"arrival_time": at(0, 1, 165296), "prompt_tokens": 933, "output_tokens": 49, "cached_tokens": 466},
            **{"e2e_s": 1.392556, "ttft_s": None, "finish_reason": "stop", "model": "llama-70b", "parent": None},
            "id": "d1974cb1edaa474c0a912bc0f1e3fecc/51105a887ce17e64",
        },
    ),
    (
        "otlp.jsonl",
        2,
        1,
        {"prompt_tokens": 169, "output_tokens": 140, "e2e_s": 3.329889, "arrival_time": at(0, 2, 544959)},
    ),
    (
        "otlp.jsonl",
        2,
        2,
        {"prompt_tokens": 259, "output_tokens": 109, "ttft_s": 0.228778, "queue_s": 0.0125, "e2e_s": 2.651},
    ),
    ("otlp.jsonl", 3, 1, {"is_other": True, "id": "c333f8ce8372b051c3ccbfe0f79a7c6b/6d00fc5f597a47aa"}),
    ("otlp.jsonl", 3, 2, {"id": "c333f8ce8372b051c3ccbfe0f79a7c6b/b80791b943d615e7", "outcome": "served"}),
    ("otlp.jsonl", 4, 1, {"parent": "c333f8ce8372b051c3ccbfe0f79a7c6b/b80791b943d615e7", "outcome": "served"}),
    ("otlp.jsonl", 4, 2, {"is_other": True}),
    ("otlp.jsonl", 5, 1, {"outcome": "failed", "e2e_s": 30.0, "prompt_tokens": None}),
    ("otlp.jsonl", 6, 1, {"outcome": "failed"}),
    ("otlp.jsonl", 7, 1, {"reason": "missing_field"}),
    (
        "openai-usage.jsonl",
        1,
        1,
        {
            **{"arrival_time": at(0, 1), "prompt_tokens": 309, "output_tokens": 89, "cached_tokens": 154},
            **{"finish_reason": "stop", "id": "chatcmpl-0000", "e2e_s": None},
        },
    ),
    (
        "openai-usage.jsonl",
        2,
        1,
        {"arrival_time": at(0, 2), "prompt_tokens": 1384, "output_tokens": 334, "id": "resp_0001"},
    ),
    ("openai-usage.jsonl", 4, 1, {"is_other": True}),
    ("openai-usage.jsonl", 5, 1, {"id": "chatcmpl-0003", "prompt_tokens": 260, "output_tokens": 177}),
    ("openai-usage.jsonl", 6, 1, {"outcome": "served", "finish_reason": "max_output_tokens"}),
    (
        "openai-usage.jsonl",
        8,
        1,
        {"arrival_time": at(0, 10), "prompt_tokens": 520, "output_tokens": 249, "id": "chatcmpl-0007"},
    ),
    ("openai-usage.jsonl", 10, 1, {"outcome": "failed", "output_tokens": 0}),
    ("openai-usage.jsonl", 11, 1, {"reason": "missing_field"}),
    ("openai-usage.jsonl", 13, 1, {"reason": "zero_tokens"}),
    (
        "litellm-spend.csv",
        2,
        1,
        {
            **{"arrival_time": at(0, 3, 284000), "prompt_tokens": 1158, "output_tokens": 479, "id": "chatcmpl-0000"},
            # The log's own duration counts, and not the difference of its times.
            **{"e2e_s": 10.973, "ttft_s": 0.329, "model": "llama-70b", "outcome": "served"},
        },
    ),
    (
        "litellm-payload.jsonl",
        1,
        1,
        {
            **{"arrival_time": at(0, 1, 274385), "prompt_tokens": 1289, "output_tokens": 247, "e2e_s": 5.832111},
            **{"ttft_s": 0.343222, "id": "chatcmpl-0000", "model": "llama-70b"},
        },
    ),
    ("litellm-payload.jsonl", 5, 1, {"outcome": "failed", "prompt_tokens": 0}),
    ("litellm-payload.jsonl", 8, 1, {"outcome": "cache_hit", "prompt_tokens": 4759}),
    (
        "envoy-ai-gateway.jsonl",
        3,
        1,
        {
            **{"arrival_time": at(0, 1, 343000), "prompt_tokens": 716, "output_tokens": 127, "e2e_s": 3.101},
            **{"model": "llama-70b", "outcome": "served"},
        },
    ),
    ("envoy-ai-gateway.jsonl", 10, 1, {"outcome": "aborted", "e2e_s": 30.001, "prompt_tokens": None}),
    ("envoy-ai-gateway.jsonl", 12, 1, {"is_other": True}),
    (
        "sglang-requests.jsonl",
        3,
        1,
        {
            **{
                "logged_time": at(0, 4, 222424),
                "arrival_time": at(0, 0, 617202),
                "e2e_s": 3.605222,
                "queue_s": 0.048888,
            },
            **{"prompt_tokens": 647, "output_tokens": 150, "cached_tokens": 215, "is_finish_time": False},
        },
    ),
    ("sglang-requests.jsonl", 15, 1, {"outcome": "aborted", "finish_reason": "abort"}),
    ("sglang-requests.jsonl", 20, 1, {"arrival_time": at(0, 13, 210406), "is_finish_time": True, "e2e_s": None}),
    (
        "sglang-metrics.jsonl",
        4,
        1,
        {
            **{"arrival_time": at(0, 6, 725296), "e2e_s": 4.200333, "ttft_s": 0.467, "outcome": "aborted"},
            "id": "9b48dca849c463d9831b884b90b45332",
        },
    ),
    ("sglang-metrics.jsonl", 11, 1, {"reason": "missing_field"}),
    (
        "semantic-router-events.jsonl",
        1,
        1,
        {"is_note": True, "archetype": "code", "id": "5bc5e2d044948823", "logged_time": at(0, 0, 270000)},
    ),
    (
        "semantic-router-events.jsonl",
        2,
        1,
        {
            **{"logged_time": at(0, 1, 150000), "arrival_time": at(0, 0, 266000), "e2e_s": 0.884, "archetype": None},
            **{"prompt_tokens": 1560, "output_tokens": 23, "cached_tokens": 390, "id": "5bc5e2d044948823"},
        },
    ),
    (
        "semantic-router-replay.jsonl",
        1,
        1,
        {
            **{"arrival_time": at(0, 0, 266000), "e2e_s": 0.884, "archetype": "code", "model": "llama-70b"},
            "id": "5bc5e2d044948823",
        },
    ),
    ("semantic-router-replay.jsonl", 4, 1, {"outcome": "aborted", "prompt_tokens": 310, "output_tokens": None}),
]


@pytest.mark.parametrize("name", TEXT_SAMPLES)
def test_how_the_requests_of_a_sample_ended(name):
    assert outcomes(read((SAMPLES / name).read_bytes(), FORMAT_OF[name])) == OUTCOMES[name]


@pytest.mark.parametrize(("name", "line", "record", "expected"), EXPECTED)
def test_lines_of_samples_against_values_read_off_by_hand(name, line, record, expected):
    rows = read((SAMPLES / name).read_bytes(), FORMAT_OF[name])
    (row,) = [row for row in rows if (row["line_number"], row["record_number"]) == (line, record)]
    found = {key: row[key] for key in expected}
    assert found == {
        key: pytest.approx(value, abs=1e-9) if key in SECONDS and value is not None else value
        for key, value in expected.items()
    }


def test_samples_have_the_shape_of_the_real_files():
    azure = (SAMPLES / "azure.csv").read_bytes()
    assert azure.count(b"\r\n") == azure.count(b"\n") == 40
    assert not azure.endswith(b"\n")
    assert all(len(line.split(b",")[0].rpartition(b".")[2]) == 7 for line in azure.split(b"\r\n")[1:])
    lengths = {len(line.split(b",")[0]) for line in (SAMPLES / "azure-2024.csv").read_bytes().split(b"\n")[1:-1]}
    assert lengths == {len("2026-10-05 08:00:04+00:00"), len("2026-10-05 08:00:00.035030+00:00")}


def test_the_prompts_in_samples_reach_nothing_that_is_read():
    marked = [name for name in TEXT_SAMPLES if b"please-keep-this-private" in (SAMPLES / name).read_bytes()]
    assert len(marked) == 7
    for name in marked:
        assert get_format(FORMAT_OF[name]).holds_text
        assert "please-keep-this-private" not in repr(read((SAMPLES / name).read_bytes(), FORMAT_OF[name]))


def test_the_sample_of_our_own_format_has_the_columns_that_are_written():
    assert pl.read_parquet_schema(SAMPLES / "fleetopt.parquet") == TRACE_SCHEMA


def test_a_sample_of_parquet_holds_no_lines():
    sample = sample_of("litellm-spend.parquet")
    assert isinstance(sample, Sample)
    assert (sample.lines, sample.columns[:2], len(sample.objects)) == ([], ("request_id", "call_type"), 22)


def span(attributes, name="x", **more):
    """A line with one span."""
    pairs = [{"key": key, "value": value} for key, value in attributes.items()]
    times = {"startTimeUnixNano": 1791187200000000999, "endTimeUnixNano": "1791187201000000000"}
    whole = {"traceId": "t", "spanId": "s", "name": name, **times, "attributes": pairs, **more}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [whole]}]}]}).encode()


TOKENS = {"gen_ai.usage.prompt_tokens": {"intValue": 7}, "gen_ai.usage.output_tokens": {"stringValue": "5"}}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (span(TOKENS), {"outcome": "served", "prompt_tokens": 7, "output_tokens": 5, "arrival_time": at(0, 0)}),
        (span({**TOKENS, "gen_ai.operation.name": {"stringValue": "embeddings"}}), {"is_other": True}),
        (span({}, name="chat llama"), {"is_other": True}),
        (span({"gen_ai.operation.name": {"stringValue": "chat"}}), {"reason": "missing_field"}),
        (span({"gen_ai.latency.e2e": {"doubleValue": 1.5}}), {"reason": "missing_field"}),
        (span(TOKENS, status={"code": "STATUS_CODE_ERROR"}), {"outcome": "failed"}),
        (span(TOKENS, status={"code": 7}), {"reason": "bad_status"}),
        (span({**TOKENS, "error.type": {"stringValue": "timeout"}}), {"outcome": "failed"}),
        (b'{"resourceSpans": []}', {"is_other": True}),
        (b'{"resourceSpans": [', {"reason": "not_json"}),
    ],
)
def test_which_spans_are_requests(line, expected):
    (row,) = read(line, "otlp")
    assert {key: row[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("envoy-ai-gateway", {"response_code": 499}, {"outcome": "aborted"}),
        ("envoy-ai-gateway", {"response_code": "0"}, {"outcome": "aborted"}),
        ("envoy-ai-gateway", {"response_code": 429}, {"outcome": "failed"}),
        ("envoy-ai-gateway", {"response_code": "-"}, {"outcome": "served"}),
        ("envoy-ai-gateway", {"response_code": "OK"}, {"reason": "bad_status"}),
        ("litellm-payload", {"status": "failure"}, {"outcome": "failed"}),
        ("litellm-payload", {"status": "?"}, {"reason": "bad_status"}),
        ("litellm-payload", {"cache_hit": "True"}, {"outcome": "cache_hit"}),
        ("litellm-payload", {"cache_hit": "False"}, {"outcome": "served"}),
        ("litellm-payload", {"completion_tokens": None}, {"outcome": "failed", "output_tokens": None}),
        ("litellm-payload", {"call_type": "aembedding"}, {"is_other": True}),
        ("litellm-payload", {"call_type": None}, {"outcome": "served"}),
        ("sglang-metrics", {"finish_reason": {"type": "abort"}}, {"outcome": "aborted"}),
        ("sglang-metrics", {"finish_reason": None}, {"outcome": "served"}),
        ("sglang-metrics", {"completion_tokens": 0}, {"reason": "zero_tokens"}),
        ("semantic-router-replay", {"lifecycle_state": "in_progress"}, {"is_other": True}),
        ("semantic-router-replay", {"lifecycle_state": "unknown"}, {"is_other": True}),
        ("semantic-router-replay", {"lifecycle_state": None}, {"outcome": "served"}),
        ("semantic-router-replay", {"from_cache": True}, {"outcome": "cache_hit"}),
        ("semantic-router-replay", {"completion_tokens": None}, {"reason": "missing_field"}),
        (
            "semantic-router-events",
            {"event": "routing_decision", "decision": "Code"},
            {"is_note": True, "archetype": "code"},
        ),
        ("semantic-router-events", {"event": "startup"}, {"is_other": True, "is_note": False}),
        ("openai-usage", {"usage": None}, {"is_other": True}),
        ("openai-usage", {"usage": {}}, {"reason": "missing_field"}),
        ("openai-usage", {"error": {"code": "x"}}, {"outcome": "failed"}),
        ("openai-usage", {"status": "cancelled"}, {"outcome": "aborted"}),
        ("mooncake", {"timestamp": -1}, {"reason": "bad_time"}),
        ("qwen-bailian", {"timestamp": 0.0000019}, {"arrival_time": at(0, 0, 1, hour=0)}),
        ("sglang-requests", {"timestamp": "2026-10-05T08:00:04"}, {"arrival_time": at(0, 0, 234000)}),
    ],
)
def test_what_becomes_of_an_example_with_another_value(name, line, expected):
    (row,) = read(json.dumps(json.loads(get_format(name).example) | line).encode(), name)
    assert {key: row[key] for key in expected} == expected
