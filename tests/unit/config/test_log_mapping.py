"""A log format that a configuration declares: what is accepted, what it means, and that logs are read by it."""

import io
import re
import tomllib
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from fleetopt.config import parse_config
from fleetopt.errors import InputError
from fleetopt.ingest.csv_reader import CsvReader
from fleetopt.ingest.formats.definition import Csv, JsonLines
from fleetopt.ingest.formats.user import log_format_of
from fleetopt.ingest.interpret import Interpretation, interpret
from fleetopt.ingest.json_reader import JsonReader
from fleetopt.ingest.lines import derive_key, read_chunks, split_chunk
from fleetopt.ingest.mapping import Condition, DurationField, Mapping, StatusField, TimeField
from fleetopt.log_mapping import LogMapping

EXAMPLE = Path(__file__).parents[3] / "fleetopt.toml"
CONFIG = """
[pipeline]
first_day = 2026-01-01
[source.own]
path = "own/*.log"
format = "mapping"
archetype = "chat"
fleet = "assistant"
{source}
[source.own.mapping]
{mapping}
[fleet.assistant]
model = "m"
slo_ttft_p99_s = 2.0
profiles = ["a100-llama2-7b"]
max_context_tokens = 8192
"""
SMALLEST = 'container = "csv"\ntime = "at"\nprompt_tokens = "p"\noutput_tokens = "o"\n'


def source_of(mapping=SMALLEST, source=""):
    return parse_config(CONFIG.format(mapping=mapping, source=source), "my.toml").source["own"]


def read(data, source):
    """Rows that a source's log means."""
    log_format = log_format_of(source)
    container, paths = log_format.container, log_format.mapping.paths()
    is_csv = isinstance(container, Csv)
    reader = CsvReader(container, paths) if is_csv else JsonReader(paths)
    options = {"quoted": container.quoted, "delimiter": container.delimiter} if is_csv else {}
    how = Interpretation(
        hash_key=b"k",
        timezone=source.timezone,
        clock_start=source.clock_start,
        time_is=source.time,
        models=source.own_models,
    )
    batches = [split_chunk(each, record_key=derive_key(b"k", b"record")) for each in read_chunks(data, **options)]
    frame = pl.concat([interpret(reader.prepare(batch)(), log_format.mapping, how) for batch in batches])
    return frame.filter(~pl.col("is_other"))


def test_the_smallest_mapping_reads_csv():
    frame = read(io.BytesIO(b"o,at,p\n44,2026-01-02 03:04:05,374\n0,2026-01-02 03:04:05,374\n"), source_of())
    assert frame["arrival_time"].to_list() == [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)] * 2
    assert frame["prompt_tokens"].to_list() == [374, None]
    assert frame["reason"].to_list() == [None, "zero_tokens"]


def test_csv_of_another_kind():
    mapping = r"""
container = "csv"
delimiter = ";"
time = { path = "when", unit = "%d.%m.%Y %H:%M:%S%.f" }
prompt_tokens = ["in", "p"]
output_tokens = "out tokens"
e2e = { path = "ms", unit = "ms" }
time_is = "finish"
model = "model"
null_values = ["NULL"]
zero_tokens = "failed"
"""
    data = (
        b"when;in;p;out tokens;ms;model\n"
        b'"01.07.2026 12:00:00.5";NULL;7;"44";1500;"a ""b"""\n'
        b"01.07.2026 12:00:00;5;7;0;NULL;other\n"
    )
    source = source_of(mapping, 'timezone = "Europe/Berlin"\nmodels = [\'a "b"\']')
    assert log_format_of(source).container == Csv(header=("when", "out tokens"), delimiter=";", quoted=True)
    first, second = read(io.BytesIO(data), source).to_dicts()
    assert first["arrival_time"] == datetime(2026, 7, 1, 9, 59, 59, tzinfo=UTC)
    assert (first["prompt_tokens"], first["output_tokens"], first["model"]) == (7, 44, 'a "b"')
    assert (first["e2e_s"], first["is_finish_time"], first["outcome"]) == (1.5, False, "served")
    assert (second["is_finish_time"], second["outcome"], second["prompt_tokens"]) == (True, "other_model", 5)


def test_json_with_nested_fields_and_a_clock_of_its_own():
    mapping = """
container = "jsonl"
time = { path = "t", unit = "s", is_relative = true }
prompt_tokens = "usage.prompt_tokens"
output_tokens = "usage.completion_tokens"
status = { path = "http", is_http = true }
finish_reason = "choices.0.finish_reason"
"""
    data = (
        b'{"t": 1.5, "usage": {"prompt_tokens": 7, "completion_tokens": 9}, "http": 200, '
        b'"choices": [{"finish_reason": "stop"}]}\n{"t": 2, "usage": {}, "http": 503}\n'
    )
    source = source_of(mapping, "clock_start = 2026-01-01T00:00:00Z\nsegment_starts = [2026-01-02T00:00:00Z]")
    first, second = read(io.BytesIO(data), source).to_dicts()
    assert first["arrival_time"] == datetime(2026, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
    assert (first["outcome"], first["finish_reason"], second["outcome"]) == ("served", "stop", "failed")
    assert [start.day for start in source.clock_starts] == [1, 2]


def test_every_key_means_what_the_mapping_says():
    text = EXAMPLE.read_text()
    section = text[text.index("# [source.gateway.mapping]") :].partition("\n\n")[0]
    lines = [line.removeprefix("# ") for line in section.splitlines()[1:] if re.match("# [a-z]", line)]
    declared = LogMapping.model_validate(tomllib.loads("\n".join(lines)))
    missing = set(LogMapping.model_fields) - declared.model_fields_set
    assert missing == {"delimiter", "quoted", "header"}, "the example shows all keys but those of csv"
    log_format = log_format_of(source_of("\n".join(lines)))
    assert (log_format.container, log_format.holds_text) == (JsonLines(), False)
    expected = Mapping(
        time=TimeField(paths=("created_at",), unit="ms"),
        prompt_tokens=("usage.prompt_tokens", "usage.input_tokens"),
        output_tokens=("usage.completion_tokens", "usage.output_tokens"),
        cached_tokens=("usage.prompt_tokens_details.cached_tokens",),
        finish_time=TimeField(paths=("done_at",), unit="ms"),
        first_token_time=TimeField(paths=("first_at",), unit="ms"),
        e2e=DurationField(paths=("latency_ms",), unit="ms"),
        ttft=DurationField(paths=("ttft_ms",), unit="ms"),
        queue=DurationField(paths=("queue_s",)),
        request_id=("id",),
        parent_id=("parent",),
        model=("model",),
        tenant=("org",),
        session=("conversation",),
        finish_reason=("choices.0.finish_reason",),
        archetype=("route",),
        status=StatusField(paths=("status",), served=("ok",), failed=("error",), aborted=("cancelled",)),
        error=("error.message",),
        cache_hit=("cached",),
        only_when=(Condition(paths=("event",), values=("done",)),),
        note_when=(Condition(paths=("event",), values=("routed",)),),
        zero_tokens="failed",
        numbers_as_text=True,
        null_values=("-", "None"),
    )
    assert log_format.mapping == expected
    unset = {each.name for each in fields(Mapping) if not getattr(expected, each.name)}
    assert not unset, "every field of a mapping can be declared"


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ('container = "csv"\ntime = "t"\nprompt_tokens = "p"', "mapping.output_tokens': required key is missing"),
        (SMALLEST + 'outcome = "x"', "mapping.outcome': unknown key"),
        (SMALLEST.replace('"csv"', '"xml"'), "mapping.container': Input should be 'csv', 'jsonl' or 'parquet'"),
        (SMALLEST.replace('"at"', "5"), "mapping.time.path"),
        (SMALLEST.replace('"at"', "[]"), "mapping.time.path"),
        (SMALLEST.replace('"at"', '""'), "mapping.time.path"),
        (SMALLEST.replace('"at"', '{ path = "t", unit = "h" }'), "mapping.time.unit': 'h' is neither one of iso, s,"),
        (SMALLEST.replace('"at"', '{ path = "t", unit = "%H:%M" }'), "'%H:%M' does not tell year, month, day, hour"),
        (SMALLEST.replace('"at"', '{ path = "t", unit = "%Y-%m-%d" }'), "does not tell year, month, day, hour"),
        (SMALLEST.replace('"at"', '{ path = "t", unit = "%Q" }'), "'%Q' is no pattern that can be read"),
        (SMALLEST.replace('"at"', '{ path = "t", unit = "%F %T.%f" }'), "write %.f for decimals"),
        (SMALLEST.replace('"at"', '{ path = "t", unit = "%F %T %Z" }'), "names of zones are not read"),
        (SMALLEST.replace('"at"', '{ path = "t", unit = "%s" }'), 'write unit = "s"'),
        (SMALLEST.replace('"at"', '{ path = "t", epoch = 2001-01-01T00:00:00Z }'), "only numbers count from an epoch"),
        (SMALLEST.replace('"at"', '{ path = "t", unit = "s", epoch = 2001-01-01T00:00:00 }'), "epoch': needs a zone"),
        (SMALLEST.replace('"at"', '{ path = "t", unit = "s", is_relative = true }'), "declare clock_start"),
        (SMALLEST + 'finish_time = { path = "f", unit = "s", is_relative = true }', "finish_time and time must both"),
        (SMALLEST + 'e2e = { path = "d", unit = "min" }', "mapping.e2e.unit"),
        (SMALLEST + 'status = { path = "s" }', "mapping.status': give the values of served"),
        (SMALLEST + 'status = { path = "s", served = ["ok"], failed = ["OK"] }', "'ok' is there twice"),
        (SMALLEST + 'status = { path = "s", served = [200] }', "mapping.status.served"),
        (SMALLEST + 'delimiter = "||"', "mapping.delimiter': needs one ASCII character"),
        (SMALLEST + "delimiter = '\"'", "mapping.delimiter': needs one ASCII character"),
        (SMALLEST + 'delimiter = "§"', "mapping.delimiter': needs one ASCII character"),
        (SMALLEST + 'quoted = "yes"', "mapping.quoted"),
        (SMALLEST.replace("csv", "jsonl") + 'delimiter = ";"', "delimiter is a key of csv; the container is jsonl"),
        (SMALLEST + 'note_when = [{ path = "e" }]', "note_when needs only_when and request_id"),
        (SMALLEST + 'zero_tokens = "served"', "mapping.zero_tokens"),
        (
            'container = "csv"\ntime = ["a", "b"]\nprompt_tokens = ["c", "d"]\noutput_tokens = ["e", "f"]',
            "name the columns by which a header line is known",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_file_and_key(mapping, expected):
    with pytest.raises(InputError) as caught:
        source_of(mapping)
    message = str(caught.value)
    assert message.startswith("my.toml: key 'source.own")
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('models = ["*", "a"]', "source.own.models'"),
        ("clock_restart_s = 0", "source.own.clock_restart_s'"),
        ("duplicate_horizon_s = -1", "source.own.duplicate_horizon_s'"),
        ("duplicate_horizon_s = 86401", "source.own.duplicate_horizon_s'"),
        ("segment_starts = [2026-01-01T00:00:00Z]", "segment_starts are those after clock_start"),
        ("clock_start = 2026-01-01T00:00:00Z\nsegment_starts = [2026-01-01T00:00:00]", "segment_starts': needs a zone"),
    ],
)
def test_mistakes_of_the_source(source, expected):
    with pytest.raises(InputError, match=r"^my\.toml: ") as caught:
        source_of(source=source)
    assert expected in str(caught.value)


def test_a_mapping_and_its_format_go_together():
    text = CONFIG.format(mapping=SMALLEST, source="")
    with pytest.raises(InputError, match="go together"):
        parse_config(text.replace('"mapping"', '"azure"'), "my.toml")
    with pytest.raises(InputError, match="go together"):
        parse_config(text.replace("[source.own.mapping]\n" + SMALLEST, ""), "my.toml")


def test_models_that_are_a_sources_own():
    assert source_of().own_models is None
    assert source_of(source='models = ["*"]').own_models is None
    assert source_of(source='models = ["a", "b"]').own_models == {"a", "b"}


def test_formats_of_the_registry_are_found_by_name():
    source = parse_config(CONFIG.partition("[source.own.mapping]")[0].format(source="").replace("mapping", "azure")
        + "[fleet.assistant]" + CONFIG.partition("[fleet.assistant]")[2], "my.toml").source["own"]  # fmt: skip
    assert log_format_of(source).name == "azure"
