"""Where what a customer leaves behind can lie: in either database, its large mails in a folder or in a bucket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.crash.world import World
from tests.privacy.scene import open_scene
from tests.servers.s3 import S3, serving


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    with serving() as server:
        yield server


@pytest.fixture(
    params=[
        "sqlite, folder",
        "postgresql, folder",
        "sqlite, bucket",
        pytest.param("postgresql, bucket", marks=pytest.mark.long),
    ]
)
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    engine, blobs = request.param.split(", ")
    postgres = request.getfixturevalue("postgres") if engine == "postgresql" else None
    bucket = request.getfixturevalue("s3") if blobs == "bucket" else None
    async with open_scene(engine, tmp_path, postgres, bucket) as world:
        yield world
