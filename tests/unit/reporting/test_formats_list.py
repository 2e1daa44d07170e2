"""The list of formats in the terminal, and as JSON."""

import io
import json

import pytest
from rich.console import Console

from fleetopt.ingest.formats import FORMATS
from fleetopt.ingest.formats.refused import REFUSED
from fleetopt.reporting.formats import formats_json, formats_list


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_list_fits_the_terminal_and_cuts_nothing_off(width):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(formats_list(list(FORMATS.values())))
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    together = "".join(text.split())
    for log_format in FORMATS.values():
        assert f"\n{log_format.name} " in text
        assert "".join(log_format.example.split()) in together
    assert all("".join(refused.advice.split()) in together for refused in REFUSED.values())


def test_json_says_what_each_format_holds():
    found = {each["name"]: each for each in json.loads(json.dumps(formats_json(list(FORMATS.values()))))}
    assert list(found) == list(FORMATS)
    assert found["azure"] == {
        "name": "azure",
        "description": FORMATS["azure"].description,
        "clock": "absolute",
        "holds": [],
        "keeps_bad_lines": True,
        "example": FORMATS["azure"].example,
    }
    assert found["mooncake"]["clock"] == "relative, from a start that has to be declared"
    assert found["mooncake"]["holds"] == ["session"]
    assert found["sglang-requests"]["clock"].startswith("absolute, at the finish")
    assert {"ids", "outcome", "time to first token", "end-to-end time", "queue time"} <= set(found["otlp"]["holds"])
    assert not found["otlp"]["keeps_bad_lines"]
