"""Killed at any step, a backup leaves nothing that looks whole and is not, and a restore no half store."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from ingestd.backup.check import check_backup
from ingestd.backup.folder import open_backup
from tests.backup.conftest import MakeUrls
from tests.backup.copies import check, opened
from tests.backup.desk import ROOT, configure, done, ingestd
from tests.backup.launcher import KILL_AT, STEPS
from tests.servers import warm
from tests.stores import Stores, StoreUrls
from tests.verify.builder import build

_KILLS = {"backup": 4, "restore": 3}
"""Of each kind, evenly over the steps, first and last included."""

pytestmark = [pytest.mark.timeout(240), pytest.mark.postgresql_is_long]


def _run(config: Path, *arguments: str, **environment: str) -> int:
    """Run a command with steps that count; return its status, negative for a signal."""
    env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **environment}
    command = ["--config", str(config), *arguments]
    return asyncio.run(warm.run("tests.backup.launcher:run", command, env=env, cwd=ROOT, seconds=60))[0]


def _spread(command: str, count: int) -> list[int]:
    kills = _KILLS[command]
    return sorted({1 + round(index * (count - 1) / (kills - 1)) for index in range(kills)})


def _fill(urls: StoreUrls) -> None:
    async def inside() -> None:
        stores = await Stores.open(urls)
        try:
            await build(stores)
        finally:
            await stores.close()

    asyncio.run(inside())


@pytest.mark.parametrize("which", ["content", "keystore"])
def test_a_killed_backup_is_none(store_urls: StoreUrls, tmp_path: Path, which: str) -> None:
    config = configure(tmp_path / "desk", store_urls)
    _fill(store_urls)
    steps, target = tmp_path / "steps", tmp_path / "target"
    assert _run(config, "backup", which, str(tmp_path / "rehearsal"), **{STEPS: str(steps)}) == 0
    names = steps.read_text().split()
    assert "rename" in names
    finished = 0
    for at in _spread("backup", len(names)):
        assert _run(config, "backup", which, str(target), **{KILL_AT: str(at)}) == -9
        whole = [one for one in target.iterdir() if not one.name.startswith(".")] if target.exists() else []
        # Only the last step comes after the backup has its name: the folder's fsync.
        assert len(whole) == finished + (at == len(names)), names[at - 1]
        finished = len(whole)
        for one in whole:
            check_backup(open_backup(one))
    made = done(config, "backup", which, str(target))
    assert which in made
    check_backup(open_backup(target, which))
    assert [one.name for one in target.iterdir() if one.name.startswith(".")] == []


def test_a_killed_restore_is_none_or_whole(engine: str, make_urls: MakeUrls, tmp_path: Path) -> None:
    source = make_urls(engine)
    _fill(source)
    made = configure(tmp_path / "source", source)
    copies = {which: str(tmp_path / "copies" / which) for which in ("content", "keystore")}
    for which, path in copies.items():
        done(made, "backup", which, path)
    steps = tmp_path / "steps"
    for which in ("content", "keystore"):
        rehearsal = configure(tmp_path / f"rehearsal-{which}", make_urls(engine))
        steps.write_text("")
        assert _run(rehearsal, "restore", which, copies[which], **{STEPS: str(steps)}) == 0
        names = steps.read_text().split()
        assert names[-1] == "committed"
        for at in _spread("restore", len(names)):
            urls = make_urls(engine)
            config = configure(tmp_path / f"killed-{which}-{at}", urls)
            assert _run(config, "restore", which, copies[which], **{KILL_AT: str(at)}) == -9
            again = ingestd(config, "restore", which, copies[which])
            if at == len(names):
                assert again.exit_code == 1
                assert "not empty" in again.output
            else:
                assert again.exit_code == 0, again.output
            other = "keystore" if which == "content" else "content"
            done(config, "restore", other, copies[other])
            assert asyncio.run(_violations(urls)) == []


async def _violations(urls: StoreUrls) -> list[object]:
    async with opened(urls) as stores:
        return list((await check(stores)).violations)
