"""The one guard that every outgoing connection passes.

Two nets. The first: whoever opens a connection asks `EgressGuard.resolve` and
connects to an address it returned, never to a name (a name that is resolved twice
can answer differently: DNS rebinding). The second: an audit hook that stops any
connect to an address the guard did not give out, whatever library made it.
Code that bypasses CPython's sockets (Rust, C) is not seen by the second net.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from connectors.base import PermanentError, TemporaryError, Trouble
from connectors.look_ups import LookUps

PERMITTED_MAX = 10_000
"""Addresses kept as permitted; the oldest goes first. A later connect resolves again, so none is missed."""

ACCOUNT_PORTS = (range(443, 444), range(1024, 65536))
"""The ports that hosts supplied by an account may have: https and those that anybody may listen on. Beneath 1024
are the services of other protocols (SSH, SMTP, LDAP …): nobody shall have us knock there."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST = ipaddress.ip_network("2000::/3")
"""All of IPv6 that is given out to anybody (IANA). What lies beside it is of some special use, today or tomorrow:
site-local and IPv4-compatible addresses, translations of a network's own (RFC 8215)."""
_SPECIAL = tuple(
    ipaddress.ip_network(text)
    for text in (
        "168.63.129.16/32",  # Azure's platform, seen from its machines alone
        "192.0.0.0/24",  # protocol assignments (RFC 6890); clouds put their metadata there, too
        "192.88.99.0/24",  # relays of 6to4 (RFC 7526)
        "2001:db8::/32",
        "3fff::/20",  # documentation (RFC 9637)
    )
)
"""What `ipaddress` takes for public."""
_WATCHED_EVENTS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_KEEPALIVE_SECONDS = 120
"""Silence after which the kernel asks whether the other side is still there."""
_KEEPALIVE_AGAIN_SECONDS = 20
_KEEPALIVE_TIMES = 3


class EgressRefused(PermanentError):
    """This host may not be contacted. An operator must configure it, or the account must name another."""

    def __init__(self, message: str) -> None:
        super().__init__(message, trouble=Trouble.ADMIN_BLOCKED)


@dataclass(frozen=True, slots=True)
class Address:
    """A resolved address, ready for `socket.connect`."""

    family: socket.AddressFamily
    sockaddr: tuple[Any, ...]

    @property
    def ip(self) -> str:
        return str(self.sockaddr[0])


class EgressGuard:
    """Knows which hosts may be contacted, and which addresses they were seen to have.

    `allowed` are the (host, port) pairs that the operator configured; they may
    be private unless `allow_private` is off. `account_ports` are the ports that
    hosts supplied by an account may have; such hosts are never private, but for
    those that the operator opened to accounts (`open_to_accounts`). A name that
    is not resolved after `resolve_seconds` counts as one that cannot be.
    `refused` is told why a connection was stopped, as a fixed word; it may be called in any thread.
    """

    def __init__(
        self,
        allowed: Collection[tuple[str, int]],
        *,
        allow_private: bool = True,
        open_to_accounts: Collection[tuple[str, int]] = (),
        account_ports: Collection[range] = ACCOUNT_PORTS,
        resolve_seconds: float = 10.0,
        refused: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._allowed = {(_normal_host(host), port) for host, port in allowed}
        self._allow_private = allow_private
        self._open_to_accounts = {(_normal_host(host), port) for host, port in open_to_accounts}
        self._account_ports = tuple(account_ports)
        self._resolve_seconds = resolve_seconds
        # Apart: an account can name as many slow hosts as it likes.
        self._look_ups, self._account_look_ups = LookUps(), LookUps()
        self._refused = refused
        self._permitted: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._lock = threading.Lock()

    def permit(self, host: str, port: int) -> None:
        """Add a host that the operator configured elsewhere (a database), and resolve it now.

        Blocks on the resolver: for start-up. Call `resolve` again before a
        reconnect where the host may have moved. Raises TemporaryError when it cannot be resolved.
        """
        self._allowed.add((_normal_host(host), port))
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            raise TemporaryError(f"cannot resolve {host}:{port}") from None
        self._record(_addresses(found), port)

    def replace(self, allowed: Collection[tuple[str, int]], open_to_accounts: Collection[tuple[str, int]] = ()) -> None:
        """Allow these hosts and no others any more; what `permit` added is to be permitted again.

        Connections that stand already are not concerned: who holds them ends them.
        """
        with self._lock:
            self._allowed = {(_normal_host(host), port) for host, port in allowed}
            self._open_to_accounts = {(_normal_host(host), port) for host, port in open_to_accounts}
            self._permitted.clear()

    def is_open_to_accounts(self, host: str, port: int) -> bool:
        """Whether the operator lets accounts name this host, private as it may be."""
        return (_normal_host(host), port) in self._open_to_accounts

    async def resolve(self, host: str, port: int, *, account_supplied: bool = False) -> list[Address]:
        """Return the addresses of `host`, at least one, and let connections to them pass.

        Raises EgressRefused (not configured, or private where it may not be) and
        TemporaryError (the resolver has no answer).
        """
        name = _normal_host(host)
        public_only = account_supplied and not self.is_open_to_accounts(name, port)
        if account_supplied:
            if public_only and not any(port in ports for ports in self._account_ports):
                raise self._refusal("port_closed", f"port {port} is not open to hosts that accounts supply")
        elif (name, port) not in self._allowed:
            raise self._refusal("not_configured", f"{name}:{port} is not configured")
        try:
            # The look-up itself cannot be stopped: its thread ends when the system's resolver gives up.
            async with asyncio.timeout(self._resolve_seconds):
                found = await (self._account_look_ups if account_supplied else self._look_ups).ask(name, port)
        except (OSError, UnicodeError):  # TimeoutError is an OSError
            raise TemporaryError(f"cannot resolve {name}:{port}") from None
        addresses = _addresses(found)
        if not addresses:
            raise TemporaryError(f"{name}:{port} has no address")
        # One private address among public ones is refused whole: it is how rebinding looks.
        if (public_only or not self._allow_private) and not all(is_public(a.ip) for a in addresses):
            raise self._refusal("not_public", f"{name}:{port} has an address that is not public")
        self._record(addresses, port)
        return addresses

    def check(self, ip: str, port: int) -> None:
        """Raise EgressRefused unless `resolve` or `permit` gave this address out."""
        if (_normal_ip(ip), port) not in self._permitted:
            raise self._refusal("not_resolved", "connection to an address that was not resolved by the guard")

    def _refusal(self, why: str, text: str) -> EgressRefused:
        self._refused(why)
        return EgressRefused(text)

    def install_audit_hook(self) -> None:
        """Let CPython refuse every IP connection that this guard does not know; see `install_audit_hook`."""
        install_audit_hook(self)

    def _record(self, addresses: Collection[Address], port: int) -> None:
        with self._lock:
            for address in addresses:
                key = (_normal_ip(address.ip), port)
                self._permitted[key] = None
                self._permitted.move_to_end(key)
            while len(self._permitted) > PERMITTED_MAX:
                self._permitted.popitem(last=False)


_guard_of_process: list[EgressGuard] = []
"""The guard that the audit hook asks: one or none."""


def install_audit_hook(guard: EgressGuard) -> None:
    """Let CPython refuse every IP connection that `guard` does not know, in this process and for good.

    Hooks cannot be removed; a second call only changes the guard. AF_UNIX passes.
    """
    hook_is_there = bool(_guard_of_process)
    _guard_of_process[:] = [guard]
    if not hook_is_there:
        sys.addaudithook(_audit)


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event not in _WATCHED_EVENTS or not _guard_of_process:
        return
    sock, address = args[0], args[1]
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or not isinstance(address, tuple):
        return
    _guard_of_process[0].check(str(address[0]), int(address[1]))


def is_public(ip: str) -> bool:
    """Whether an address is on the public internet, also behind its IPv6 disguises.

    >>> is_public("192.168.1.1"), is_public("::ffff:10.0.0.1"), is_public("1.1.1.1")
    (False, False, True)
    """
    address = ipaddress.ip_address(ip.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)))
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is not None:
            return is_public(str(inner))
        if address not in _UNICAST:
            return False
    return address.is_global and not address.is_multicast and not any(address in net for net in _SPECIAL)


def _normal_host(host: str) -> str:
    return host.rstrip(".").lower()


def _normal_ip(ip: str) -> str:
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        # Not an address: a library handed a name to connect(); never permitted, as resolve() records addresses only.
        return ip
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _addresses(found: Collection[tuple[Any, ...]]) -> list[Address]:
    return [Address(family, sockaddr) for family, _, _, _, sockaddr in found if family in _IP_FAMILIES]


_IP_FAMILIES = (socket.AF_INET, socket.AF_INET6)


async def dial(guard: EgressGuard, host: str, port: int, *, connect_seconds: float) -> socket.socket:
    """Return a connected TCP socket (non-blocking mode) to one of the host's addresses, tried in order.

    Raises EgressRefused, or TemporaryError when none answers within `connect_seconds` in all.
    """
    addresses = await guard.resolve(host, port)
    try:
        async with asyncio.timeout(connect_seconds):
            for address in addresses:
                sock = await _connect(address)
                if sock is not None:
                    return sock
    except TimeoutError:
        pass
    raise TemporaryError(f"cannot connect to {host}:{port}")


def _keep_alive(sock: socket.socket) -> None:
    """Have the kernel notice within minutes that the other side is gone: a connection in IDLE waits in silence.

    It also keeps what lies between (NAT) from forgetting the connection, which many do after some minutes.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_AGAIN_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_TIMES)
    if hasattr(socket, "TCP_KEEPIDLE"):  # macOS calls it otherwise
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS)


async def _connect(address: Address) -> socket.socket | None:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _keep_alive(sock)
        await asyncio.get_running_loop().sock_connect(sock, address.sockaddr)
    except OSError:
        sock.close()
        return None
    except BaseException:
        sock.close()
        raise
    return sock
