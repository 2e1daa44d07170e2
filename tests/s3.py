"""A real S3 server on loopback, in a process of its own: deltalake holds Python's lock while it lists."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

SECRET = "s3cr3t-that-must-not-be-written-anywhere"  # noqa: S105  # of no server but the one below
_SERVE = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class S3Server:
    """A server and how it is reached."""

    port: int

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to reach it, as for any S3 server that is not Amazon's."""
        return {
            "AWS_ACCESS_KEY_ID": "fleetopt-tests",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "eu-west-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ALLOW_HTTP": "true",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }


@dataclass(frozen=True)
class Bucket:
    """A bucket of the server: what the owner of the logs does to it."""

    name: str
    client: object

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=content)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)

    def contents(self) -> dict[str, bytes]:
        """Every object, by its key."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
        return {key: self.client.get_object(Bucket=self.name, Key=key)["Body"].read() for key in keys}


@contextmanager
def run_s3_server() -> Iterator[S3Server]:
    """Serve until the block is left; the port is a free one."""
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as process:
        try:
            yield S3Server(int(process.stdout.readline()))
        finally:
            process.stdin.close()
            process.kill()


def make_bucket(server: S3Server, name: str) -> Bucket:
    """Make a bucket, reached by another library than the code under test."""
    import boto3  # noqa: PLC0415  # only the tests of stores need it
    from botocore.config import Config  # noqa: PLC0415

    client = boto3.client(
        "s3",
        endpoint_url=server.environment["AWS_ENDPOINT_URL"],
        region_name="eu-west-1",
        aws_access_key_id="owner",
        aws_secret_access_key="owner",  # noqa: S106
        config=Config(proxies={}),
    )
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return Bucket(name, client)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with run_s3_server() as server:
        yield server


@pytest.fixture
def bucket(s3_server: S3Server, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket of this test alone, and the environment that reaches it."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return make_bucket(s3_server, f"t{abs(hash(request.node.nodeid)):x}")
