"""The configuration: what is accepted, and the one line that names file and key when something is not."""

import re
from pathlib import Path

import pytest

from assets.hardware import fleet_offers
from fleetopt.config import Fleet, Pipeline, Source, parse_config
from fleetopt.errors import InputError

GOOD = """
[pipeline]
first_day = 2026-01-01

[source.chat]
path = "{data}/landing/chat/{date}.csv"
format = "azure"
archetype = "chat"
fleet = "assistant"

[fleet.assistant]
model = "m"
slo_ttft_p99_s = 2.0
profiles = ["a100-llama2-7b"]
max_context_tokens = 8192
"""


def test_defaults_are_those_that_the_product_promises():
    config = parse_config(GOOD, "fleetopt.toml")
    fleet = config.fleet["assistant"]
    assert (fleet.spare_replicas, fleet.max_utilization, fleet.peak.window_s) == (1, 0.85, 60)
    assert fleet.compression.compressible_fraction == {}
    assert config.pipeline.window_days == 28
    assert config.source["chat"].is_dated
    assert list(config.sources_of("assistant")) == ["chat"]


def test_a_buyers_constraints_are_optional_keys():
    text = (
        GOOD
        + """
slo_tpot_p99_s = 0.1
slo_ttft_p99_s_by_pool = { short = 0.5 }
max_pools = 3
min_replicas = 2
slots = "worst-case"
[fleet.assistant.supply.a100-llama2-7b]
max_gpus = 64
committed_gpus = 16
committed_usd_per_gpu_hour = 1.4
gpus_per_node = 8
availability = 0.99
[fleet.assistant.compression]
gamma_step = 0.25
usd_per_compressed_request = 1e-6
"""
    )
    fleet = parse_config(text, "fleetopt.toml").fleet["assistant"]
    assert (fleet.slo_tpot_p99_s, fleet.slo_ttft_p99_s_by_pool) == (0.1, {"short": 0.5})
    assert (fleet.max_pools, fleet.min_replicas, fleet.slots) == (3, 2, "worst-case")
    (offer,) = fleet_offers(fleet, "assistant", Path("fleetopt.toml"))
    assert (offer.max_gpus, offer.committed_gpus, offer.committed_usd_per_gpu_hour) == (64, 16, 1.4)
    assert (offer.gpus_per_node, offer.availability) == (8, 0.99)
    plain = parse_config(GOOD, "fleetopt.toml").fleet["assistant"]
    assert (plain.slo_tpot_p99_s, plain.max_pools, plain.min_replicas, plain.slots) == (None, 2, 1, "statistical")
    (offer,) = fleet_offers(plain, "assistant", Path("fleetopt.toml"))
    assert (offer.max_gpus, offer.committed_gpus, offer.gpus_per_node, offer.availability) == (None, 0, 1, 1.0)


def test_a_commitment_above_the_price_is_refused_by_file_and_key():
    text = GOOD + ("[fleet.assistant.supply.a100-llama2-7b]\ncommitted_gpus = 1\ncommitted_usd_per_gpu_hour = 99.0\n")
    fleet = parse_config(text, "my.toml").fleet["assistant"]
    with pytest.raises(
        InputError, match=r"my\.toml: key 'fleet\.assistant\.supply': a100-llama2-7b: .*committed price"
    ):
        fleet_offers(fleet, "assistant", Path("my.toml"))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("slo_ttft_p99_s", "slo_ttft_p99", "key 'fleet.assistant.slo_ttft_p99': unknown key"),
        ('model = "m"\n', "", "key 'fleet.assistant.model': required key is missing"),
        ("= 2.0", "= 0", "key 'fleet.assistant.slo_ttft_p99_s': Input should be greater than 0"),
        ("= 2.0", "= nan", "key 'fleet.assistant.slo_ttft_p99_s'"),
        ("= 2.0", "= inf", "key 'fleet.assistant.slo_ttft_p99_s'"),
        ('fleet = "assistant"', 'fleet = "other"', "source.chat.fleet: no [fleet.other] is declared"),
        ('format = "azure"', 'format = "azure"\ntimezone = "Mars/Base"', "unknown time zone 'Mars/Base'"),
        ('format = "azure"', 'format = "azure"\nclock_start = 2026-01-01T00:00:00', "needs a zone"),
        ("{date}", "{month}", "unknown placeholder {month}"),
        ("[pipeline]", "[pipeline", "not valid TOML"),
        ("[source.chat]", "[source.Chat]", "source.Chat"),
        (
            "max_context_tokens = 8192",
            "max_context_tokens = 8192\nusd_per_gpu_hour = { h100 = 4.0 }",
            "fleet.assistant.usd_per_gpu_hour.h100: not among the fleet's profiles",
        ),
        (
            "max_context_tokens = 8192",
            "max_context_tokens = 8192\nsupply = { h100 = { max_gpus = 4 } }",
            "fleet.assistant.supply.h100: not among the fleet's profiles",
        ),
        ("= 2.0", "= 2.0\nmax_pools = 4", "key 'fleet.assistant.max_pools'"),
        ("= 2.0", '= 2.0\nslots = "some"', "key 'fleet.assistant.slots'"),
        ("= 2.0", "= 2.0\nslo_ttft_p99_s_by_pool = { fast = 1.0 }", "key 'fleet.assistant.slo_ttft_p99_s_by_pool"),
    ],
)
def test_a_mistake_is_one_line_that_names_file_and_key(old, new, expected):
    with pytest.raises(InputError) as caught:
        parse_config(GOOD.replace(old, new, 1), "my.toml")
    message = str(caught.value)
    assert message.startswith("my.toml: ")
    assert expected in message
    assert "\n" not in message


def test_a_fleet_that_no_source_feeds_is_a_mistake():
    extra = GOOD.replace(
        "[fleet.assistant]",
        '[fleet.idle]\nmodel="n"\nslo_ttft_p99_s=1\nprofiles=["p"]\nmax_context_tokens=2\n[fleet.assistant]',
    )
    with pytest.raises(InputError, match=r"fleet\.idle: no source feeds it"):
        parse_config(extra, "my.toml")


@pytest.mark.parametrize("section", [Pipeline, Source, Fleet])
def test_the_example_shows_every_key(section):
    """As an assignment, out of use or not, or as a section of that name."""
    text = (Path(__file__).parents[3] / "fleetopt.toml").read_text()
    missing = [
        name for name in section.model_fields if not re.search(rf"(?m)^(# )?({name} = |\[+[\w.-]+\.{name}[.\]])", text)
    ]
    assert missing == []
