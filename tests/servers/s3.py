"""An S3 server for the tests: moto's, in a thread."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import uuid4

import httpx2
from moto.server import ThreadedMotoServer

from storage.bucket import BucketBlobs

_CREDENTIALS: Final = {"access_key_id": "AKIAEXAMPLE", "secret_access_key": "example", "region": "us-east-1"}


class S3:
    """Buckets come into being as they are asked for."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def make_bucket(self) -> str:
        name = f"mail-{uuid4().hex[:12]}"
        httpx2.put(f"{self.endpoint}/{name}", trust_env=False).raise_for_status()
        return name

    def blobs(self, bucket: str | None = None, *, prefix: str = "ingestd/", endpoint: str | None = None) -> BucketBlobs:
        return BucketBlobs(
            bucket or self.make_bucket(),
            endpoint=endpoint or self.endpoint,
            prefix=prefix,
            timeout_seconds=10,
            retries_max=0,
            **_CREDENTIALS,
        )


@contextmanager
def serving() -> Iterator[S3]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield S3(f"http://{host}:{port}")
    finally:
        server.stop()
