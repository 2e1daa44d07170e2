"""Files in object stores, against a real S3 server."""

import gzip
import os
from contextlib import closing

import pytest

from fleetopt.errors import InputError
from fleetopt.ingest import stores
from fleetopt.ingest.compression import HashingStream, decompressed
from fleetopt.ingest.log_file import LogFile
from fleetopt.ingest.places import find_files, matching, open_file, parse_place, shown_file, stamp
from fleetopt.ingest.stores import find_stored
from tests.s3 import SECRET

NAMES = (
    "logs/a.csv",
    "logs/b c.csv",
    "logs/note.txt",
    "logs/day=1/a.csv",
    "logs/day=1/deep/a.csv",
    "logs/day=2/b%20ü#[1].csv",
    "logs/.a.csv",
    "top.csv",
)


def place(bucket, pattern, tmp_path):
    return parse_place(f"s3://{bucket.name}{pattern}", tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("/logs/a.csv", ["logs/a.csv"]),
        ("/logs/b c.csv", ["logs/b c.csv"]),
        ("/logs/*.csv", ["logs/a.csv", "logs/b c.csv"]),
        (
            "/logs/**",
            [
                "logs/a.csv",
                "logs/b c.csv",
                "logs/day=1/a.csv",
                "logs/day=1/deep/a.csv",
                "logs/day=2/b%20ü#[1].csv",
                "logs/note.txt",
            ],
        ),
        ("/logs/**/a.csv", ["logs/a.csv", "logs/day=1/a.csv", "logs/day=1/deep/a.csv"]),
        ("/logs/day=*/a.csv", ["logs/day=1/a.csv"]),
        ("/*/day=*/*.csv", ["logs/day=1/a.csv", "logs/day=2/b%20ü#[1].csv"]),
        ("/*/day=1/**.csv", ["logs/day=1/a.csv", "logs/day=1/deep/a.csv"]),
        ("/logs/.*.csv", ["logs/.a.csv"]),
        ("/*", ["top.csv"]),
        ("/logs/day=1", []),
        ("/logs/day=1/*", ["logs/day=1/a.csv"]),
        ("/nowhere/*.csv", []),
        ("/nowhere/a.csv", []),
    ],
)
def test_patterns(bucket, pattern, expected, tmp_path):
    for name in NAMES:
        bucket.put(name, name.encode())
    files = find_files(place(bucket, pattern, tmp_path))
    assert files == [f"s3://{bucket.name}/{name}" for name in expected]
    assert matching(place(bucket, pattern, tmp_path), [f"s3://{bucket.name}/{name}" for name in NAMES]) == set(files)
    for file, name in zip(files, expected, strict=True):
        with closing(open_file(file)) as stream:
            assert stream.read() == name.encode()
        assert stamp(file)[0] == len(name.encode())
        assert shown_file(file) == file


def test_folders_that_cannot_match_are_not_looked_into(bucket, tmp_path):
    bucket.put("logs/2026-01-05/a.csv", b"1")
    bucket.put("logs/2026-01-06//unlistable.csv", b"1")  # an empty part in a name cannot be listed at all
    assert len(find_files(place(bucket, "/logs/2026-01-05/*.csv", tmp_path))) == 1
    with pytest.raises(InputError, match=r"cannot be read: a name with an empty part \('//'\) is there"):
        find_files(place(bucket, "/logs/**/*.csv", tmp_path))


def test_streams_in_pieces(bucket, monkeypatch):
    monkeypatch.setattr(stores, "_READ_BYTES", 10_000)
    content = os.urandom(95_000)
    bucket.put("big", content)
    with closing(open_file(f"s3://{bucket.name}/big")) as stream:
        assert b"".join(iter(lambda: stream.read(7_001), b"")) == content
        assert not stream.seekable()  # what needs to go back and forth takes a copy: the object may change meanwhile


def test_compressed_files(bucket):
    text = b"TIMESTAMP,ContextTokens,GeneratedTokens\n" * 10_000
    bucket.put("a.log", gzip.compress(text))
    with LogFile(f"s3://{bucket.name}/a.log") as log:
        assert log.stream.read() == text


def test_an_object_that_goes_while_it_is_read_is_one_line(bucket, monkeypatch):
    monkeypatch.setattr(stores, "_READ_BYTES", 1000)
    bucket.put("a.csv", b"x" * 100_000)
    url = f"s3://{bucket.name}/a.csv"
    text = decompressed(HashingStream(open_file(url)), url)
    assert text.read(10) == b"x" * 10
    bucket.delete("a.csv")
    with pytest.raises(InputError, match=rf"^{url}: cannot be read: no such file$"):
        while text.read(5000):
            pass


def test_a_new_file_has_another_stamp(bucket):
    url = f"s3://{bucket.name}/a.csv"
    bucket.put("a.csv", b"one")
    first = stamp(url)
    bucket.put("a.csv", b"three")
    (now,) = find_stored(url)
    assert first[0] == 3
    assert stamp(url) == (now.size, now.mtime_ns) == (5, now.mtime_ns)
    assert now.mtime_ns >= first[1]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("{bucket}/nothing.csv", r"/nothing\.csv: cannot be read: no such file"),
        ("s3://no-such-bucket/a*", r"s3://no-such-bucket/a\*: cannot be read: status 404 Not Found"),
    ],
)
def test_what_is_missing_is_one_line(bucket, url, message, tmp_path):
    url = url.format(bucket=f"s3://{bucket.name}")
    with pytest.raises(InputError, match=rf"{message}$") as caught:
        find_files(parse_place(url, tmp_path, tmp_path)) if "*" in url else open_file(url)
    assert SECRET not in str(caught.value)


def test_a_server_that_is_not_there_is_one_line(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr(stores, "_OPTIONS", {"max_retries": "1", "retry_timeout": "5s"})
    with pytest.raises(InputError, match=rf"^s3://{bucket.name}/\*\.csv: cannot be read: connection refused$"):
        find_stored(f"s3://{bucket.name}/*.csv")


@pytest.mark.parametrize(
    ("url", "environment", "message"),
    [
        ("abfss://logs/x.csv", {}, "no account is named"),
        (
            "abfss://logs@account.dfs.core.windows.net/x.csv",
            {"AZURE_STORAGE_ACCOUNT_KEY": f"{SECRET} "},
            "the credentials in the environment are missing, incomplete or wrong",
        ),
        (
            "gs://logs/x.csv",
            {"GOOGLE_SERVICE_ACCOUNT": f"/{SECRET}.json"},
            "the credentials in the environment are missing, incomplete or wrong",
        ),
    ],
)
def test_credentials_that_cannot_be_are_one_line_without_them(url, environment, message, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for find in (find_stored, open_file):
        with pytest.raises(InputError, match=rf"^{url}: cannot be read: {message}[^\n]*$") as caught:
            find(url)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"s3://key:{SECRET}@bucket/a.csv", "holds a port or credentials"),
        (f"s3://{SECRET}@bucket/a.csv", "holds a port or credentials"),
        (f"abfss://logs:{SECRET}@account.dfs.core.windows.net/a.csv", "holds a port or credentials"),
        (f"s3://bucket/a.csv?key={SECRET}", "options go in the environment"),
        ("s3:///a.csv", "names no bucket"),
        ("gs://*/a.csv", "names no bucket"),
        ("azure://bucket/a.csv", "unknown scheme"),
    ],
)
def test_urls_that_are_refused(url, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        parse_place(url, tmp_path, tmp_path)
    assert SECRET not in str(caught.value)


def test_urls_of_every_store_are_places(tmp_path):
    for url in ("s3://b/{date}/*.gz", "gs://b/{date}.csv", "abfss://logs@account.dfs.core.windows.net/{date}.csv"):
        found = parse_place(url, tmp_path, tmp_path)
        assert found.at("2026-01-05").shown == url.replace("{date}", "2026-01-05")
        assert found.can_list
