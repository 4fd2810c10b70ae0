"""Where the daemon connects to, by the kernel's own account: only to what `check-config` lists, and nobody is asked
for a name.

The guard and the audit hook see what goes through Python; strace sees all, the bucket's Rust too.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from config import load
from ingestd.build.store import open_store
from ingestd.build.webhooks import open_webhook_desk
from ingestd.events.desk import NewWebhook
from storage.types import new_id
from tests.conftest import missing
from tests.events.receiver import Receiver
from tests.servers.s3 import serving
from tests.stores import sqlite_urls
from tests.story.daemon import INGESTD, DaemonProcess
from tests.story.house import House, Servers, open_house
from tests.story.mails import mail

_CALLS: Final = "trace=connect,sendto,sendmsg,sendmmsg"
_IPV4: Final = re.compile(r'sin_port=htons\((\d+)\), sin_addr=inet_addr\("([^"]+)"\)')
_IPV6: Final = re.compile(r'sin6_port=htons\((\d+)\).*?inet_pton\(AF_INET6, "([^"]+)"')
_LOCAL: Final = re.compile(r'sun_path=@?"([^"]+)"')
_NSCD: Final = "/var/run/nscd/socket"
"""Where the C library looks for a cache of names and users before it reads its own files."""
_FAMILY: Final = re.compile(r"sa_family=(AF_\w+)")
_STRAY: Final = """\
import socket
for family, address in ((socket.AF_INET, ("203.0.113.9", 443)), (socket.AF_INET6, ("2001:db8:1::9", 443))):
    one = socket.socket(family)
    one.setblocking(False)
    one.connect_ex(address)
asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try:
    asking.sendto(b"telemetry", ("198.51.100.53", 53))
    asking.sendmsg([b"telemetry"], [], 0, ("127.0.0.1", 53))
except OSError:
    pass
"""


def traced(file: Path) -> list[str]:
    """Return what runs a command, so that its calls, and those of its children, are added to a file."""
    if shutil.which("strace") is None:
        missing("strace", "strace")
    # -D: the tracer is not the parent. -s 0: nothing of what is sent is written down.
    found = ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-s", "0", "-A", "-o", str(file), "-e", _CALLS]
    tried = subprocess.run([*found[:-4], *("-o", os.devnull), "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"nothing can be traced here: {tried.stderr.decode()}")
    return [*found, "-e", "signal=none"]


def went(file: Path) -> tuple[set[tuple[str, int]], set[str]]:
    """Return the addresses that something was sent to, and what other kinds of addresses there were."""
    text = file.read_text()
    found = {(address, int(port)) for one in (_IPV4, _IPV6) for port, address in one.findall(text)}
    return found, set(_FAMILY.findall(text)) - {"AF_INET", "AF_INET6"}


def test_what_goes_elsewhere_is_seen(tmp_path: Path) -> None:
    """The control."""
    file = tmp_path / "calls"
    subprocess.run([*traced(file), sys.executable, "-c", _STRAY], check=True, timeout=30)
    assert went(file)[0] >= {("203.0.113.9", 443), ("2001:db8:1::9", 443), ("198.51.100.53", 53)}


async def test_the_story_goes_nowhere_else(servers: Servers, new_user: Callable[[], str], tmp_path: Path) -> None:
    support, anna, file = new_user(), new_user(), tmp_path / "calls"
    program = [*traced(file), *INGESTD]
    with serving() as s3:
        async with (
            Receiver().serving() as receiver,
            open_house(
                tmp_path,
                sqlite_urls(tmp_path),
                servers,
                program=program,
                storage={"bucket": s3.settings(s3.make_bucket(), "mail/")},
                egress={"allow": [receiver.allowed]},
                mailbox_defaults={"after_import": "move:Done"},
            ) as house,
        ):
            await _tell(house, receiver, support, anna)
            listed = (await DaemonProcess(house.daemon.config).cli("check-config"))["hosts"]
    wanted = {
        (ip, one["port"])
        for one in listed
        for *_, (ip, *_) in socket.getaddrinfo(one["host"], one["port"], type=socket.SOCK_STREAM)
    }
    found, others = went(file)
    assert found <= wanted, "it went elsewhere"
    assert {port for _, port in found} == {one["port"] for one in listed}, "the control: each of them is seen"
    assert others <= {"AF_UNIX", "AF_UNSPEC"}
    assert set(_LOCAL.findall(file.read_text())) <= {_NSCD}


async def _tell(house: House, receiver: Receiver, support: str, anna: str) -> None:
    """Link, mail in, large and moved, a reply out, a webhook, a disconnect."""
    async with open_store(load(house.daemon.config)) as store, open_webhook_desk(store) as desk:
        new = NewWebhook(receiver.url, content=True)
        _, receiver.secret = await desk.create(house.account_id, new_id(), new)
    await house.daemon.start()
    mailbox_id = await house.linked(support)
    film = ("film.bin", os.urandom(500_000))
    house.deliver(support, mail(anna, support, "Printer", "It burns.", attachment=film))
    (ticket,) = await house.tickets(mailbox_id, 1)
    assert house.store.blobs.count(house.account_id, mailbox_id) == 1
    await house.received(support, folder="Done")
    message_id = await house.reply(ticket.ticket.number, "Switch it off.")
    await house.reply_at(ticket.ticket.number, message_id, "copy:filed")
    assert len(await house.received(anna)) == 1
    await receiver.until(lambda: "reply.sent" in receiver.types())
    receipt = await house.daemon.cli("mailbox", "disconnect", mailbox_id)
    assert (receipt["revocation"], receipt["left"]) == ("revoked", {})
    await receiver.until(lambda: "erasure.completed" in receiver.types())
    assert await asyncio.to_thread(house.servers.auth.grants.living_grants, support) == 0
    assert await house.daemon.stop() == 0
