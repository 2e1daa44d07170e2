"""Files on disks and over HTTP, and what is shown of a URL; object stores are in test_stores."""

import threading
from contextlib import closing
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fleetopt.config import Source
from fleetopt.errors import InputError
from fleetopt.ingest.landing import list_files
from fleetopt.ingest.places import Place, find_files, open_file, shown_file, shown_url
from tests.unit.ingest.helpers import HEADER, KEY, read_day

DAY = date(2023, 11, 16)
CONTENT = HEADER + b"\r\n2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 18:15:47,3,4"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if "2023-11-16" in self.path or self.path.startswith("/all.csv"):
            self._send(200, CONTENT)
        elif self.path.startswith("/cut"):
            self._send(200, CONTENT, announced=len(CONTENT) + 50)
        else:
            self._send(500 if self.path.startswith("/broken") else 404, b"secret page")

    def _send(self, status, body, announced=None):
        self.send_response(status)
        self.send_header("Content-Length", str(announced or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http_server.server_port}"
        http_server.shutdown()
        thread.join()


def _source(path):
    return Source(path=path, format="azure", archetype="chat", fleet="f")


def test_a_day_over_http(server, tmp_path):
    source = _source(f"{server}/all.csv?sig=hidden")
    rows = read_day("s", source, DAY, config_dir=tmp_path, data_dir=tmp_path, hash_key=KEY)
    assert rows["prompt_tokens"].to_list() == [374, 3]
    assert rows["file"].unique().to_list() == [f"{server}/all.csv?sig=***"]
    (file,) = list_files(source, "s", DAY, tmp_path, tmp_path)
    assert file == source.path


def test_dated_files_over_http(server, tmp_path):
    source = _source(f"{server}/logs?day={{date}}&sig=hidden")
    rows = read_day("s", source, DAY, config_dir=tmp_path, data_dir=tmp_path, hash_key=KEY)
    assert rows["file"].unique().to_list() == [f"{server}/logs?day=2023-11-16&sig=***"]
    (file,) = list_files(source, "s", DAY, tmp_path, tmp_path)
    assert file == source.path.replace("{date}", str(DAY))
    assert list_files(source, "s", date(2023, 11, 18), tmp_path, tmp_path) == []
    assert list_files(source, "s", None, tmp_path, tmp_path) == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/nothing.csv?sig=hidden", r"source\.s\.path: no file matches http://.*/nothing\.csv\?sig=\*\*\*$"),
        (
            "/broken.csv?sig=hidden",
            r"source\.s\.path: http://.*/broken\.csv\?sig=\*\*\*: cannot be read: HTTP status 500$",
        ),
        (
            "/cut.csv?sig=hidden",
            r"cut\.csv\?sig=\*\*\*: (broke off after 100 of 150 bytes|cannot be read: IncompleteRead)",
        ),
    ],
)
def test_failures_over_http(server, path, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        read_day("s", _source(server + path), DAY, config_dir=tmp_path, data_dir=tmp_path, hash_key=KEY)
    assert "hidden" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_server_that_is_not_there():
    with pytest.raises(InputError, match=r"^http://127\.0\.0\.1:1/x\.csv: cannot be read: connection refused"):
        open_file("http://127.0.0.1:1/x.csv")


def test_what_is_shown_of_a_url():
    assert shown_url("https://me:pw@host:8/a/b.csv?X-Sig=abc&day=2023-11-16&e=#top") == (
        "https://host:8/a/b.csv?X-Sig=***&day=2023-11-16&e=***"
    )
    assert shown_url("s3://bucket/2023-11-16/*.csv") == "s3://bucket/2023-11-16/*.csv"
    assert shown_file("/a/b?c=d.csv") == "/a/b?c=d.csv"


def test_local_files(tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes(CONTENT)
    assert find_files(Place("a.csv", tmp_path)) == [str(file)]
    assert find_files(Place("b.csv", tmp_path)) == []
    with closing(open_file(str(file))) as stream:
        assert stream.read() == CONTENT
    with pytest.raises(InputError, match=r"b\.csv: no such file or directory$"):
        open_file(str(tmp_path / "b.csv"))
