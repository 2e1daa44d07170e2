import json

import pytest

from fleetopt.errors import InputError
from fleetopt.workload.reference import load_reference, parse_cdf, reference_names


def test_every_shipped_reference_loads_and_says_where_it_is_from() -> None:
    assert reference_names() == ["agent-heavy", "azure", "lmsys"]
    for name in reference_names():
        reference = load_reference(name)
        assert reference.name == name
        assert reference.points[-1][1] == 1
        assert "semantic-router" in reference.source
        assert reference.licence.startswith("Apache-2.0")


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(InputError, match=r"'sharegpt'.*agent-heavy, azure, lmsys"):
        load_reference("sharegpt")


def test_a_list_and_an_object_are_read_alike() -> None:
    points = [[64, 0.25], [128.0, 1]]
    expected = ((64.0, 0.25), (128.0, 1.0))
    assert parse_cdf(json.dumps(points), "x.json") == expected
    assert parse_cdf(json.dumps({"cdf": points, "source": "mine"}), "x.json") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[[64, 1]", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("7", "not a int"),
        ("[]", "no points"),
        ('{"points": []}', "no key 'cdf'"),
        ('{"cdf": {"64": 1}}', "not a dict"),
        ("[[64, 0.5], [128]]", "point 2 is not a pair"),
        ("[64, 128]", "point 1 is not a pair"),
        ('[["64", 1]]', "point 1 is not a pair"),
        ("[[64, true]]", "point 1 is not a pair"),
        ("[[64, null]]", "point 1 is not a pair"),
        ("[[64, NaN]]", "point 1: fraction nan"),
        ("[[1e999, 1]]", "point 1: inf tokens"),
        ("[[1" + "0" * 400 + ", 1]]", "point 1: the number is too large"),
        ("[[64, 0.5], [128, 0.9]]", "cut off"),
    ],
)
def test_bad_files_are_one_line_that_names_the_file(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_cdf(text, "x.json")
    assert str(caught.value).startswith("x.json: ")
    assert "\n" not in str(caught.value)
