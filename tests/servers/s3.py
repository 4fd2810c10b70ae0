"""An S3 server for the tests: moto's, in a thread."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import uuid4

import httpx2
import obstore
from moto.server import ThreadedMotoServer
from werkzeug.serving import BaseWSGIServer

from storage.bucket import BucketBlobs

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

ACCESS_KEY: Final = "AKIAEXAMPLE"
SECRET_KEY: Final = "s3-example-secret"
REGION: Final = "us-east-1"


class StoredObject(NamedTuple):
    """What a bucket holds, as a file would."""

    name: str
    content: bytes

    def read_bytes(self) -> bytes:
        return self.content


class S3:
    """Buckets come into being as they are asked for."""

    def __init__(self, server: BaseWSGIServer) -> None:
        host, port = server.server_address[:2]
        self.endpoint = f"http://{host!s}:{port}"
        self._app, server.app = server.app, self._answer
        self._fails = False

    def fail(self, fails: bool) -> None:
        """Answer nothing but that the store is away, or as usual again."""
        self._fails = fails

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not self._fails:
            return self._app(environ, start_response)
        start_response("503 Slow Down", [("Content-Length", "0")])
        return []

    def make_bucket(self) -> str:
        name = f"mail-{uuid4().hex[:12]}"
        httpx2.put(f"{self.endpoint}/{name}", trust_env=False).raise_for_status()
        return name

    def objects(self, bucket: str, prefix: str) -> list[StoredObject]:
        """Return all below a prefix, as it is stored."""
        store = self.blobs(bucket)._store
        listed = [one["path"] for page in obstore.list(store, prefix) for one in page]
        return [StoredObject(name, obstore.get(store, name).bytes().to_bytes()) for name in listed]

    def settings(self, bucket: str, prefix: str) -> dict[str, Any]:
        """Return what a configuration has below `storage.bucket`."""
        keys = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY, "region": REGION}
        return {"endpoint": self.endpoint, "name": bucket, "prefix": prefix, "retries_max": 0, **keys}

    def blobs(self, bucket: str | None = None, *, prefix: str = "ingestd/", endpoint: str | None = None) -> BucketBlobs:
        return BucketBlobs(
            bucket or self.make_bucket(),
            endpoint=endpoint or self.endpoint,
            prefix=prefix,
            timeout_seconds=10,
            retries_max=0,
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            region=REGION,
        )


@contextmanager
def serving() -> Iterator[S3]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        assert server._server is not None
        yield S3(server._server)
    finally:
        server.stop()
