"""The shipped files: each says where its figures come from, and warns where it has to."""

import re

import pytest
from pydantic import ValidationError

from fleetopt.errors import InputError
from fleetopt.profiles import Evidence, catalogue_names, load_profile_file, parse_profile_file
from fleetopt.profiles.fitted import fit_caveat
from fleetopt.profiles.times import decode_s, prefill_s
from fleetopt.profiles.writing import profile_toml

NAMES = catalogue_names()
IMPORTED = [name for name in NAMES if "llama3.1" in name or "qwen3" in name]


@pytest.mark.parametrize("name", NAMES)
def test_every_file_says_what_was_timed_and_where_each_figure_is_from(name):
    profile, evidence = load_profile_file(name)
    assert profile.name == name
    assert profile.source
    assert evidence is not None
    assert all(evidence.sources.model_dump().values())
    assert (profile.usd_per_gpu_hour == 0) == evidence.sources.price.startswith("none that can be cited")
    if evidence.basis == "measured":
        assert evidence.fit is not None


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_measured_or_fits_badly_has_a_caveat(name):
    profile, evidence = load_profile_file(name)
    if evidence.basis != "measured":
        assert profile.caveat
    if evidence.basis == "roofline":
        assert "roofline" in profile.source
        assert "roofline" in profile.caveat
    if evidence.fit is not None:
        assert fit_caveat(evidence.fit) in profile.caveat


@pytest.mark.parametrize("name", IMPORTED)
def test_imported_files_are_named_alike_and_come_with_the_error_of_their_fit(name):
    profile, evidence = load_profile_file(name)
    gpu, size = name.split("-")[0], re.search(r"-tp(\d+)$", name)
    assert evidence.gpu.removesuffix("_sxm") == gpu
    assert profile.gpus_per_replica == (int(size.group(1)) if size else 1)
    assert "aiconfigurator-core" in profile.source
    assert (profile.max_sequences, profile.max_batched_tokens, profile.block_tokens) == (256, 2048, 16)
    assert evidence.fit.mean_error < 0.10
    for error in evidence.fit.by_kind.values():
        assert error.samples
        assert error.worst_at


@pytest.mark.parametrize("model", ["llama3.1-8b", "llama3.1-70b", "qwen3-30b-a3b"])
@pytest.mark.parametrize("gpu", ["a100", "h100", "h200", "b200", "l40s"])
def test_three_models_are_there_for_five_gpus(gpu, model):
    assert any(name.startswith(f"{gpu}-{model}") for name in NAMES)


@pytest.mark.parametrize("model", ["llama3.1-8b", "llama3.1-70b-tp4"])
def test_newer_gpus_are_faster(model):
    of_gpu = {gpu: load_profile_file(f"{gpu}-{model}").profile for gpu in ("l40s", "a100", "h100", "h200")}
    decode = [decode_s(profile, 64, 512) for profile in of_gpu.values()]
    prefill = [prefill_s(of_gpu[gpu], 2048) for gpu in ("l40s", "a100", "h100")]  # the H200 computes as the H100 does
    assert decode == sorted(decode, reverse=True)
    assert prefill == sorted(prefill, reverse=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_written_reads_the_same(name):
    file = load_profile_file(name)
    assert parse_profile_file(profile_toml(file), f"{name}.toml") == file


def test_text_with_quotes_and_line_breaks_survives_writing():
    file = load_profile_file("a100-llama2-7b")
    odd = file._replace(profile=file.profile.model_copy(update={"caveat": 'a "b"\\c\nd\te'}))
    assert parse_profile_file(profile_toml(odd), "p.toml") == odd


def test_prompts_longer_than_the_budget_take_several_iterations():
    profile = load_profile_file("a100-llama2-7b").profile
    assert profile.max_batched_tokens == 512
    both_s = prefill_s(profile, 1024)
    attention_s = profile.per_prefill_attention_s * 1024**2 / 2
    assert both_s == pytest.approx(2 * profile.base_s + 1024 * profile.per_prefill_token_s + attention_s)


def test_a_profile_of_ones_own_need_not_say_where_it_is_from():
    file = load_profile_file("a100-llama2-7b")._replace(evidence=None)
    assert parse_profile_file(profile_toml(file), "p.toml").evidence is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("[evidence]\n", "[evidence]\ncolour = 3\n"), "key 'colour': unknown key"),
        (('basis = "measured"\n', ""), "key 'basis': required key is missing"),
        (('basis = "measured"', 'basis = "guessed"'), "key 'basis'"),
        (("[evidence.sources]\n", "[evidence.sources]\nmood = 'x'\n"), "key 'sources.mood': unknown key"),
        (("mean_error = 0.029", "mean_error = -1"), "key 'fit.mixed.mean_error'"),
    ],
)
def test_a_mistake_in_the_evidence_is_one_line(change, expected):
    text = profile_toml(load_profile_file("a100-llama2-7b"))
    assert change[0] in text
    with pytest.raises(InputError) as caught:
        parse_profile_file(text.replace(*change), "p.toml")
    assert str(caught.value).startswith("p.toml: table [evidence]: ")
    assert expected in str(caught.value)


def test_evidence_has_to_name_the_hardware():
    known = load_profile_file("a100-llama2-7b").evidence.model_dump()
    with pytest.raises(ValidationError, match="gpu"):
        Evidence.model_validate(known | {"gpu": " "})
