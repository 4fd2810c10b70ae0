"""A private Postfix for submission on loopback: SASL by Dovecot, local delivery into Dovecot's Maildirs."""

from __future__ import annotations

import contextlib
import pwd
import re
import shutil
from collections.abc import Sequence

from tests.servers.certs import Certificates
from tests.servers.dovecot import Dovecot
from tests.servers.process import (
    free_port,
    listens,
    private_folder,
    require_programs,
    require_root,
    run_daemon,
    wait_until,
)

DEFERRED = "deferred@example.com"
"""A recipient that is refused for now (450)."""
BOUNCED = "bounced@elsewhere.example.net"
"""A recipient that is accepted, and comes back at once."""

_MAIN = """
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = {home}/postfix.log
maillog_file_prefixes = {home}
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.example.com
mydestination =
mynetworks =
alias_maps =
alias_database =
local_recipient_maps =
virtual_mailbox_domains = example.com
virtual_mailbox_base = {maildirs}
virtual_mailbox_maps = inline:{{ {mailboxes} }}
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_transport = virtual
smtpd_tls_cert_file = {cert}
smtpd_tls_key_file = {key}
smtpd_tls_security_level = encrypt
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{port_sasl}
smtpd_recipient_restrictions =
  check_recipient_access inline:{{ {{ {deferred} = 450 4.2.1 try later }} }},
  reject_unlisted_recipient, {asked} permit_sasl_authenticated, reject
smtpd_relay_restrictions = permit_sasl_authenticated, reject
message_size_limit = {size_max}
mailbox_size_limit = 0
virtual_mailbox_limit = 0
line_length_limit = 12288
smtpd_client_connection_rate_limit = 0
smtpd_client_connection_count_limit = 0
default_process_limit = 250
smtpd_error_sleep_time = 0
smtputf8_enable = {smtputf8}
transport_maps = inline:{{ {{ elsewhere.example.net = elsewhere: }} }}
{more}
default_transport = error:no outside world
"""

_ASKING = """
smtpd_delay_reject = no
smtpd_sender_restrictions = check_policy_service inet:127.0.0.1:{policy}
smtpd_data_restrictions = check_policy_service inet:127.0.0.1:{policy}
smtpd_end_of_data_restrictions = check_policy_service inet:127.0.0.1:{policy}
"""

_MASTER = """
127.0.0.1:{port_starttls} inet n - n - - smtpd
127.0.0.1:{port_tls} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
elsewhere unix - n n - - pipe user=nobody argv=/bin/false
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """One instance for `users` of example.com. It files a Sent copy for those of them that are `filing`, as some
    providers do; for others a test delivers one with `Dovecot.deliver`. `policy` is the
    port of a policy server."""

    def __init__(
        self,
        certificates: Certificates,
        dovecot: Dovecot,
        users: Sequence[str],
        *,
        size_max: int = 2_000_000,
        smtputf8: bool = True,
        filing: Sequence[str] = (),
        policy: int | None = None,
    ) -> None:
        require_programs(["postfix", "postconf"])
        require_root("postfix")
        self.home = private_folder("postfix")
        self.port_tls, self.port_starttls = free_port(), free_port()
        self._config = self.home / "etc"
        owner = pwd.getpwnam("nobody")
        values = {
            "home": self.home,
            "maildirs": dovecot.home / "mail",
            "mailboxes": ", ".join(
                [
                    *(f"{{ {user} = {user}/ }}" for user in (*users, DEFERRED)),
                    *(f"{{ sent-of-{user} = {user}/.Sent/ }}" for user in filing),
                ]
            ),
            "uid": owner.pw_uid,
            "gid": owner.pw_gid,
            "cert": certificates.cert_file,
            "key": certificates.key_file,
            "port_sasl": dovecot.port_sasl,
            "port_tls": self.port_tls,
            "port_starttls": self.port_starttls,
            "deferred": DEFERRED,
            "size_max": size_max,
            "smtputf8": "yes" if smtputf8 else "no",
            "asked": f"check_policy_service inet:127.0.0.1:{policy}," if policy is not None else "",
            "more": _more(filing, policy),
        }
        for folder in (self._config, self.home / "queue", self.home / "data"):
            folder.mkdir()
            folder.chmod(0o755)  # whatever the umask: Postfix's own users must get in
        (self._config / "main.cf").write_text(_MAIN.format(**values))
        (self._config / "master.cf").write_text(_MASTER.format(**values))
        shutil.chown(self.home / "data", "postfix")

    def start(self) -> None:
        run_daemon("postfix", "-c", str(self._config), "start")
        for port in (self.port_tls, self.port_starttls):
            wait_until(lambda port=port: listens(port), said=f"postfix's port {port}")  # type: ignore[misc]

    def stop(self) -> None:
        run_daemon("postfix", "-c", str(self._config), "stop")
        wait_until(lambda: not listens(self.port_tls), said="postfix's end")

    def destroy(self) -> None:
        with contextlib.suppress(RuntimeError, TimeoutError):
            if listens(self.port_tls):
                self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def log(self) -> str:
        path = self.home / "postfix.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def waiting(self) -> int:
        """Return how many mails are in its queues."""
        queues = ("incoming", "active", "deferred")
        return sum(one.is_file() for name in queues for one in (self.home / "queue" / name).rglob("*"))

    def accepted(self, message_id: str) -> int:
        """Return how many mails with this Message-ID were taken: those that came into the queue."""
        log = self.log()
        queued = set(re.findall(rf"cleanup\[\d+\]: (\w+): message-id={re.escape(message_id)}", log))
        return sum(bool(re.search(rf"qmgr\[\d+\]: {one}: from=.*\(queue active\)", log)) for one in queued)


def _more(filing: Sequence[str], policy: int | None) -> str:
    lines = _ASKING.format(policy=policy) if policy is not None else ""
    if filing:
        copies = ", ".join(f"{{ {user} = sent-of-{user} }}" for user in filing)
        lines += f"sender_bcc_maps = inline:{{ {copies} }}\n"
    return lines
