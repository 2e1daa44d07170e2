import csv
import io
import json
from copy import deepcopy

import jsonschema
import polars as pl
import pytest

from fleetopt.planner.plan import HOURS_PER_YEAR
from fleetopt.profiles import GpuProfile
from fleetopt.reporting.document import canonical_json, version_of
from fleetopt.reporting.feed import COLUMNS, document_schema, feed_files
from tests.unit.reporting.samples import ALL_DOCUMENTS, ONE_POOL, document

SCHEMA = json.loads(document_schema())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())


def csv_rows(name: str) -> list[dict[str, str]]:
    text = feed_files(ALL_DOCUMENTS[name])["recommendation.csv"].decode()
    return list(csv.DictReader(io.StringIO(text)))


def test_the_schema_is_a_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("name", ALL_DOCUMENTS)
def test_documents_follow_the_schema(name: str) -> None:
    published = json.loads(feed_files(ALL_DOCUMENTS[name])["recommendation.json"])
    VALIDATOR.validate(published)
    assert published == ALL_DOCUMENTS[name]
    assert version_of(published) == published["version"]


def test_the_schema_names_every_field_of_a_profile() -> None:
    assert set(SCHEMA["$defs"]["profile"]["properties"]) == set(GpuProfile.model_fields)


def test_the_schema_says_the_unit_that_a_name_ends_with() -> None:
    units = {"_s": ", s", "_rps": "requests per second", "_tokens": "tokens", "usd_per_hour": "USD per hour"}
    nodes = [SCHEMA, *SCHEMA["$defs"].values(), *SCHEMA["properties"].values()]
    named = [(key, value) for node in nodes for key, value in node.get("properties", {}).items()]
    for suffix, unit in units.items():
        descriptions = [value["description"] for key, value in named if key.endswith(suffix)]
        assert len(descriptions) > 1
        assert all(unit in description for description in descriptions), (suffix, descriptions)


def _unknown_key(tampered: dict) -> None:
    tampered["approved_by"] = "nobody"


def _missing_key(tampered: dict) -> None:
    del tampered["verdict"]


def _confirmed_though_refuted(tampered: dict) -> None:
    tampered["evidence"][0]["verdict"] = "refuted"


def _confirmed_though_peak_undecided(tampered: dict) -> None:
    next(e for e in tampered["evidence"] if e["scenario"] == "poisson_peak")["verdict"] = "undecided"


def _no_plan(tampered: dict) -> None:
    tampered["plan"] = None


def _negative_replicas(tampered: dict) -> None:
    tampered["plan"]["pools"][0]["replicas"] = -1


def _fractional_replicas(tampered: dict) -> None:
    tampered["plan"]["pools"][0]["replicas"] = 8.5


def _price_as_text(tampered: dict) -> None:
    tampered["plan"]["usd_per_hour"] = "56.28"


def _day_of_another_calendar(tampered: dict) -> None:
    tampered["day"] = "16.11.2023"


def _profile_cut(tampered: dict) -> None:
    del tampered["plan"]["pools"][1]["profile"]["kv_blocks"]


def _saving_without_confirmation(tampered: dict) -> None:
    tampered["verdict"] = "undecided"


@pytest.mark.parametrize(
    "tamper",
    [
        _unknown_key,
        _missing_key,
        _confirmed_though_refuted,
        _confirmed_though_peak_undecided,
        _no_plan,
        _negative_replicas,
        _fractional_replicas,
        _price_as_text,
        _day_of_another_calendar,
        _profile_cut,
        _saving_without_confirmation,
    ],
)
def test_the_schema_rejects_a_tampered_document(tamper) -> None:
    tampered = deepcopy(ALL_DOCUMENTS["confirmed"])
    VALIDATOR.validate(tampered)
    tamper(tampered)
    assert not VALIDATOR.is_valid(tampered)


@pytest.mark.parametrize("name", ["infeasible", "refuted"])
def test_the_schema_rejects_an_unproven_document_declared_confirmed(name: str) -> None:
    tampered = deepcopy(ALL_DOCUMENTS[name])
    tampered["verdict"] = "confirmed"
    assert not VALIDATOR.is_valid(tampered)


@pytest.mark.parametrize("name", ALL_DOCUMENTS)
def test_equal_documents_give_equal_bytes(name: str) -> None:
    again = json.loads(canonical_json(ALL_DOCUMENTS[name]))
    assert feed_files(again) == feed_files(ALL_DOCUMENTS[name])


def test_a_confirmed_plan_is_an_order() -> None:
    short, long = csv_rows("confirmed")
    assert list(short) == [column.name for column in COLUMNS]
    assert (short["is_order"], short["pool"], short["order_replicas"], short["replicas"]) == ("true", "short", "9", "9")
    assert (long["pool"], long["order_replicas"], long["boundary_tokens"], long["gamma"]) == (
        "long",
        "5",
        "4096",
        "1.5",
    )
    assert float(long["usd_per_hour"]) == pytest.approx(5 * 4.02)
    assert float(long["usd_per_year"]) == pytest.approx(5 * 4.02 * HOURS_PER_YEAR)


def test_one_pool_has_no_boundary() -> None:
    (row,) = csv_rows("one-pool")
    assert (row["pool"], row["boundary_tokens"], row["order_replicas"]) == ("all", "", str(ONE_POOL.replicas))


@pytest.mark.parametrize("name", ["refuted", "undecided"])
def test_what_is_not_confirmed_is_no_order(name: str) -> None:
    rows = csv_rows(name)
    assert len(rows) == 2
    for row in rows:
        assert (row["verdict"], row["is_order"], row["order_replicas"]) == (name, "false", "")
        assert row["verdict_meaning"].startswith("Do not buy")


def test_an_infeasible_document_has_one_row_without_a_pool() -> None:
    (row,) = csv_rows("infeasible")
    assert (row["verdict"], row["is_order"], row["fleet"]) == ("none", "false", "demo")
    assert row["verdict_meaning"].startswith("There is no plan to buy")
    after = [column.name for column in COLUMNS][list(row).index("is_order") + 1 :]
    assert after
    assert {row[name] for name in after} == {""}


@pytest.mark.parametrize("name", ALL_DOCUMENTS)
def test_parquet_and_csv_hold_the_same(name: str) -> None:
    files = feed_files(ALL_DOCUMENTS[name])
    parquet = pl.read_parquet(io.BytesIO(files["recommendation.parquet"]))
    text = pl.read_csv(io.BytesIO(files["recommendation.csv"]), schema_overrides=parquet.schema)
    assert parquet.equals(text)
    assert parquet["day"].dtype == pl.Date


def test_text_with_separators_survives() -> None:
    model = 'llama, "instruct"\nsecond line; é'
    (row,) = csv.DictReader(io.StringIO(feed_files(document(ONE_POOL, model=model))["recommendation.csv"].decode()))
    assert row["model"] == model
