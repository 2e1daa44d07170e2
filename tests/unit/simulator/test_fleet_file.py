"""Fleet files: what they say, and one line for each way to get them wrong."""

import math
from pathlib import Path

import pytest

from fleetopt.errors import InputError
from fleetopt.profiles import load_profile
from fleetopt.simulator import Failure, Fleet, Pool
from fleetopt.simulator.fleet_file import parse_fleet

SAMPLE = Path(__file__).resolve().parents[3] / "data" / "samples" / "fleet.toml"
PROFILE = load_profile("a100-llama2-7b")
SHORT = '[[pool]]\nname = "short"\nprofile = "a100-llama2-7b"\nreplicas = 2\n'
LONG = '[[pool]]\nname = "long"\nprofile = "a100-llama2-7b"\nreplicas = 1\n'


def parse(text: str) -> Fleet:
    return parse_fleet(text, "f.toml", load_profile)


def test_the_sample_is_what_it_says():
    assert parse(SAMPLE.read_text()) == Fleet(
        pools=(Pool("short", PROFILE, 8, 4096), Pool("long", PROFILE, 3, PROFILE.context_limit_tokens)),
        router="compress-and-route",
        boundaries_tokens=(4096,),
        gamma=1.5,
        failures=(Failure("short", 0, 100.0, 400.0),),
    )


def test_defaults_and_the_scheduler_of_the_fleet():
    fleet = parse('scheduler = "sarathi"\n' + SHORT + LONG + 'scheduler = "prefill-first"\n')
    assert [pool.scheduler for pool in fleet.pools] == ["sarathi", "prefill-first"]
    assert (fleet.router, fleet.balancer, fleet.boundaries_tokens, fleet.failures) == (
        "least-loaded",
        "least-loaded",
        (),
        (),
    )
    forever = parse(SHORT + '[[failure]]\npool = "short"\nreplica = 1\ndown_s = 3\n')
    assert forever.failures == (Failure("short", 1, 3.0, math.inf),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pool = [", "f.toml: not valid TOML"),
        ("", "f.toml: key 'pool': required key is missing"),
        ("pool = []", "f.toml: key 'pool': List should have at least 1 item"),
        ("colour = 1\n" + SHORT, "f.toml: key 'colour': unknown key"),
        (SHORT + "gpus = 2", "f.toml: key 'pool.0.gpus': unknown key"),
        (SHORT + "max_context_tokens = 900000", "pool.0.max_context_tokens': 900,000 is more than .* holds, 118,784"),
        (SHORT.replace("replicas = 2", ""), "f.toml: key 'pool.0.replicas': required key is missing"),
        (SHORT.replace("= 2", "= 0"), "f.toml: key 'pool.0.replicas': Input should be greater than 0"),
        (SHORT.replace("= 2", '= "2"'), "f.toml: key 'pool.0.replicas': Input should be a valid integer"),
        (SHORT.replace("= 2", "= true"), "f.toml: key 'pool.0.replicas': Input should be a valid integer"),
        ('router = "dice"\n' + SHORT, "f.toml: key 'router': Input should be 'least-loaded', .*'spill-over'"),
        ('balancer = "length"\n' + SHORT, "f.toml: key 'balancer': Input should be"),
        (SHORT + 'scheduler = "wait"', "f.toml: key 'pool.0.scheduler': Input should be 'fcfs'"),
        ("gamma = 0.5\n" + SHORT, "f.toml: key 'gamma': Input should be greater than or equal to 1"),
        ("gamma = 1.5\n" + SHORT, "f.toml: fleet: gamma is 1.5, but router 'least-loaded' compresses nothing"),
        (SHORT + SHORT, "f.toml: fleet: two pools are named 'short'"),
        ('router = "length"\n' + SHORT + LONG, "key 'pool.0.boundary_tokens': required key is missing; .* 'length'"),
        (SHORT + LONG + "boundary_tokens = 5", "key 'pool.1.boundary_tokens': the last pool .* leave it out"),
        (SHORT + "boundary_tokens = 999999\n" + LONG, "f.toml: fleet: the boundary of pool 'short' is 999999"),
        (SHORT.replace("a100-llama2-7b", "b200"), "f.toml: key 'pool.0.profile': no GPU profile named 'b200'"),
        (SHORT + '[[failure]]\npool = "x"\nreplica = 0\ndown_s = 1.0', "f.toml: failure: no pool is named 'x'"),
        (SHORT + '[[failure]]\npool = "short"\nreplica = -1\ndown_s = 1.0', "key 'failure.0.replica': Input should be"),
        (SHORT + '[[failure]]\npool = "short"\nreplica = 0\ndown_s = inf', "key 'failure.0.down_s': Input should be a"),
        (
            SHORT + '[[failure]]\npool = "short"\nreplica = 0\ndown_s = 9.0\nup_s = 1.0',
            "f.toml: failure of replica 0 of pool 'short': down_s is 9 and up_s 1",
        ),
    ],
)
def test_a_wrong_file_is_one_line_that_names_file_and_key(text, message):
    with pytest.raises(InputError, match=message) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
