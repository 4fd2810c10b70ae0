"""A private Dovecot on loopback: OAuth by introspection, TLS, Maildir, no system configuration."""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tests.servers.certs import Certificates
from tests.servers.process import (
    children_of,
    free_port,
    listens,
    private_folder,
    require_programs,
    run,
    run_daemon,
    wait_until,
)

Mechanism = Literal["xoauth2", "oauthbearer"]

_CONFIG = """
base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/dovecot.log
protocols = imap
listen = 127.0.0.1
default_internal_user = {internal_user}
default_login_user = {login_user}
default_internal_group = {internal_group}
first_valid_uid = 1
mail_uid = {mail_uid}
mail_gid = {mail_gid}
mail_location = maildir:{home}/mail/%u
mail_max_userip_connections = 200
imap_hibernate_timeout = 0
ssl = required
ssl_cert = <{cert}
ssl_key = <{key}
ssl_dh =
auth_mechanisms = {mechanisms}
auth_failure_delay = 0
auth_cache_size = 0
{password}
passdb {{
  driver = oauth2
  args = {home}/oauth2.conf
}}
userdb {{
  driver = static
  args = allow_all_users=yes uid={mail_uid} gid={mail_gid} home={home}/mail/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
{special}
}}
service imap-login {{
  {chroot}
  inet_listener imap {{
    address = 127.0.0.1
    port = {port_starttls}
  }}
  inet_listener imaps {{
    address = 127.0.0.1
    port = {port_tls}
    ssl = yes
  }}
}}
service auth {{
  inet_listener sasl {{
    address = 127.0.0.1
    port = {port_sasl}
  }}
}}
service anvil {{
  {chroot}
  # After a refused login every later one from this address waits 2 to 15 seconds; refusals are what we test.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  {chroot}
}}
protocol imap {{
{protocol}
}}
{quota}
"""

_QUOTA = """
mail_plugins = quota
plugin {{
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:bytes={bytes}
  quota_grace = 0
}}
"""

_PASSWORD = """
passdb {{
  driver = static
  mechanisms = plain
  args = password={password}
}}
"""

_OAUTH2 = """
introspection_mode = post
introspection_url = {url}
username_attribute = username
active_attribute = active
active_value = true
"""

_SPECIAL = """
  mailbox Sent {
    special_use = \\Sent
    auto = create
  }
  mailbox Trash {
    special_use = \\Trash
    auto = create
  }
  mailbox Junk {
    special_use = \\Junk
    auto = create
  }
"""


class Dovecot:
    """One instance. `introspection_url` carries the client's credentials: http://id:secret@host:port/introspect."""

    def __init__(
        self,
        certificates: Certificates,
        introspection_url: str,
        *,
        mechanisms: Sequence[Mechanism] = ("xoauth2", "oauthbearer"),
        special_use: bool = True,
        capability: str | None = None,
        quota_bytes: int | None = None,
        password: str | None = None,
    ) -> None:
        """`capability` replaces what the server says it can do, for testing clients against a poorer one; `quota_bytes`
        is what a mailbox may hold; `password` opens all of them, for clients that know no OAuth."""
        require_programs(["dovecot", "doveadm"])
        self.home = private_folder("dovecot")
        self.port_tls, self.port_starttls, self.port_sasl = free_port(), free_port(), free_port()
        self.config = self.home / "dovecot.conf"
        self._root = os.geteuid() == 0
        self._write_config(certificates, introspection_url, mechanisms, special_use, capability, quota_bytes, password)

    def start(self) -> None:
        run_daemon("dovecot", "-c", str(self.config))
        for port in (self.port_tls, self.port_starttls, self.port_sasl):
            wait_until(lambda port=port: listens(port), said=f"dovecot's port {port}")  # type: ignore[misc]

    def stop(self) -> None:
        """Stop all of it. Left alone, the processes of clients that are logged in go on serving them for a while."""
        children = children_of(int((self.home / "run" / "master.pid").read_text()))
        run_daemon("dovecot", "-c", str(self.config), "stop")
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not listens(self.port_tls), said="dovecot's end")

    def destroy(self) -> None:
        if listens(self.port_tls):
            self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def name_of(self, folder: str) -> str:
        """Return the server's name of a folder that the tests call so."""
        return folder

    def deliver(self, user: str, raw: bytes, folder: str = "INBOX") -> None:
        self.doveadm("save", "-u", user, "-m", folder, stdin=raw)

    def mails(self, user: str, folder: str = "INBOX") -> list[bytes]:
        """Return the messages of a folder, oldest first, as they were stored but with CRLF."""
        out = self.doveadm("-f", "flow", "fetch", "-u", user, "uid", "mailbox", folder, "all").decode()
        uids = [line.split("uid=")[1].strip() for line in out.splitlines() if "uid=" in line]
        texts = []
        for uid in uids:
            text = self.doveadm("fetch", "-u", user, "text", "mailbox", folder, "uid", uid)
            body = text.partition(b"text:\n")[2].rstrip(b"\f\n") + b"\n"
            texts.append(body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
        return texts

    def count(self, user: str, folder: str, holding: bytes) -> int:
        """Return how many messages of a folder hold these bytes. Looks at the files: quick enough to be asked often."""
        path = self.home / "mail" / user
        path = path if folder == "INBOX" else path / f".{folder}"
        found = 0
        for file in (*path.glob("new/*"), *path.glob("cur/*")):
            with contextlib.suppress(FileNotFoundError):  # a session moved it from new to cur: count it again
                found += holding in file.read_bytes()
        return found

    def flags(self, user: str, folder: str = "INBOX") -> list[str]:
        out = self.doveadm("-f", "flow", "fetch", "-u", user, "flags", "mailbox", folder, "all").decode()
        return [line.split("flags=", 1)[1].strip() for line in out.splitlines() if "flags=" in line]

    def folders(self, user: str) -> list[str]:
        return self.doveadm("mailbox", "list", "-u", user).decode().split("\n")[:-1]

    def create_folder(self, user: str, folder: str) -> None:
        self.doveadm("mailbox", "create", "-u", user, folder)

    def delete_folder(self, user: str, folder: str) -> None:
        self.doveadm("mailbox", "delete", "-u", user, folder)

    def rename_folder(self, user: str, folder: str, to: str) -> None:
        self.doveadm("mailbox", "rename", "-u", user, folder, to)

    def expunge(self, user: str, folder: str, uid: int) -> None:
        self.doveadm("expunge", "-u", user, "mailbox", folder, "uid", str(uid))

    def reset_uidvalidity(self, user: str, folder: str = "INBOX") -> None:
        """Give a folder another UIDVALIDITY and its messages other UIDs, as a rebuilt server does."""
        path = self.home / "mail" / user
        path = path if folder == "INBOX" else path / f".{folder}"
        for name in ("dovecot-uidlist", "dovecot.index", "dovecot.index.log", "dovecot.index.cache"):
            (path / name).unlink(missing_ok=True)
        for name in ("dovecot-uidvalidity",):
            (self.home / "mail" / user / name).unlink(missing_ok=True)
        self.doveadm("mailbox", "update", "-u", user, "--uid-validity", "4711", folder)

    def kick(self, user: str) -> None:
        self.doveadm("kick", user)

    def connections(self, user: str) -> int:
        return self.doveadm("-f", "flow", "who", user).decode().count("username=")

    def doveadm(self, *args: str, stdin: bytes | None = None) -> bytes:
        return run("doveadm", "-c", str(self.config), *args, stdin=stdin)

    def log(self) -> str:
        return (self.home / "dovecot.log").read_text("utf-8", "replace")

    def _write_config(
        self,
        certificates: Certificates,
        url: str,
        mechanisms: Sequence[Mechanism],
        special_use: bool,
        capability: str | None,
        quota_bytes: int | None,
        password: str | None,
    ) -> None:
        me = getpass.getuser()
        owner = pwd.getpwnam("nobody" if self._root else me)
        values = {
            "home": self.home,
            "internal_user": "dovecot" if self._root else me,
            "login_user": "dovenull" if self._root else me,
            "internal_group": "dovecot" if self._root else str(owner.pw_gid),
            "mail_uid": owner.pw_uid,
            "mail_gid": owner.pw_gid,
            "cert": certificates.cert_file,
            "key": certificates.key_file,
            "mechanisms": " ".join((*mechanisms, *(["plain"] if password is not None else []))),
            "password": _PASSWORD.format(password=password) if password is not None else "",
            "special": _SPECIAL if special_use else "",
            "chroot": "" if self._root else "chroot =",
            "port_tls": self.port_tls,
            "port_starttls": self.port_starttls,
            "port_sasl": self.port_sasl,
            "quota": _QUOTA.format(bytes=quota_bytes) if quota_bytes is not None else "",
            "protocol": f"  imap_capability = {capability}" if capability else "",
        }
        self.config.write_text(_CONFIG.format(**values))
        (self.home / "oauth2.conf").write_text(_OAUTH2.format(url=url))
        self._make_mail_folder(self.home / "mail", owner)

    def _make_mail_folder(self, path: Path, owner: pwd.struct_passwd) -> None:
        path.mkdir()
        if self._root:
            os.chown(path, owner.pw_uid, owner.pw_gid)
