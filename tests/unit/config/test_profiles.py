"""GPU profiles: the shipped ones, files, defaults that follow other keys, and mistakes in one line."""

import pytest

from fleetopt.errors import InputError
from fleetopt.profiles import catalogue_names, load_profile, parse_profile

REQUIRED = """
name = "p"
base_s = 0.01
per_sequence_s = 1e-5
per_context_token_s = 1e-7
per_prefill_token_s = 5e-5
per_prefill_attention_s = 1e-9
kv_blocks = 100
block_tokens = 16
max_sequences = 8
max_batched_tokens = 512
"""


@pytest.mark.parametrize("name", catalogue_names())
def test_every_shipped_profile_loads_and_has_a_source(name):
    profile = load_profile(name)
    assert profile.name == name
    assert profile.source


def test_published_profiles_carry_their_caveat_and_the_measured_one_has_none():
    assert "8-GPU node" in load_profile("fleetopt-a100").caveat
    assert load_profile("a100-llama2-7b").caveat == ""


def test_the_profile_for_prefill_first_has_prefill_apart_and_says_so():
    profile, mixed = load_profile("a100-llama2-7b-v0"), load_profile("a100-llama2-7b")
    assert profile.prefill_only_base_s < profile.base_s
    assert mixed.prefill_only_base_s == mixed.base_s
    assert "prefill-first" in profile.caveat
    assert profile.kv_tokens == mixed.kv_tokens


@pytest.mark.parametrize(
    ("name", "base_s", "slope_s", "slots"),
    # arXiv 2603.16054: W, H per slot at 8,192 tokens, slots at 8,192 tokens.
    [
        ("fleetopt-a10g", 12.0e-3, 0.90e-3, 64),
        ("fleetopt-a100", 8.0e-3, 0.65e-3, 128),
        ("fleetopt-h100", 4.0e-3, 0.32e-3, 256),
    ],
)
def test_published_profiles_are_those_of_the_paper(name, base_s, slope_s, slots):
    profile = load_profile(name)
    assert profile.base_s == base_s
    assert profile.per_context_token_s * 8192 == pytest.approx(slope_s, rel=1e-6)
    assert profile.max_sequences == slots


def test_optional_keys_follow_the_required_ones():
    profile = parse_profile(REQUIRED, "p.toml")
    assert profile.prefill_only_base_s == profile.base_s
    assert profile.max_chunk_tokens == 512
    assert profile.max_context_tokens == profile.kv_tokens == 1600
    assert profile.usd_per_replica_hour == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (REQUIRED + "speed = 3\n", "p.toml: key 'speed': unknown key"),
        (REQUIRED.replace("base_s = 0.01", "base_s = -1"), "key 'base_s'"),
        (REQUIRED.replace("base_s = 0.01", "base_s = nan"), "key 'base_s'"),
        (REQUIRED.replace("kv_blocks = 100", "kv_blocks = 0"), "key 'kv_blocks'"),
        (REQUIRED.replace("kv_blocks = 100", "kv_blocks = 1.5"), "key 'kv_blocks'"),
        (REQUIRED.replace("0.01", "0").replace("e-", "e-999"), "no iteration would take any time"),
        ("name = ", "not valid TOML"),
    ],
)
def test_a_mistake_is_one_line(text, expected):
    with pytest.raises(InputError) as caught:
        parse_profile(text, "p.toml")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match="a100-llama2-7b"):
        load_profile("a1000")
