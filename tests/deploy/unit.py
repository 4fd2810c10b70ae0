"""The service's unit file as data, and its limits on system calls put on a process without systemd.

systemd turns these settings into seccomp filters (systemd.exec(5)); here libseccomp, which
systemd itself uses, makes the same ones, for a child that is about to become the daemon.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_MASKED_EQUAL, _EQUAL, _GREATER = 7, 4, 6
_FAMILIES_MAX: Final = 46


class _Compare(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


@dataclass(frozen=True)
class Unit:
    """Each setting with its values, in the order of the file."""

    path: Path
    settings: dict[str, list[str]]

    @classmethod
    def read(cls, path: Path) -> Unit:
        settings: dict[str, list[str]] = {}
        for line in path.read_text().splitlines():
            if "=" in line and not line.startswith("#"):
                name, _, value = line.partition("=")
                settings.setdefault(name.strip(), []).append(value.strip())
        return cls(path, settings)

    def one(self, name: str) -> str:
        (value,) = self.settings[name]
        return value

    def is_on(self, name: str) -> bool:
        return self.one(name) == "yes"


def _members(systemd_analyze: str, group: str) -> set[str]:
    """The system calls of a group, and of the groups that it names."""
    printed = subprocess.run(
        [systemd_analyze, "--no-pager", "syscall-filter", group], check=True, capture_output=True, text=True
    ).stdout
    found = set()
    for line in map(str.strip, printed.splitlines()[1:]):
        if line.startswith("@"):
            found |= _members(systemd_analyze, line)
        elif line and not line.startswith("#"):
            found.add(line)
    return found


def allowed_calls(unit: Unit, systemd_analyze: str) -> set[str]:
    """The list that SystemCallFilter= comes to; @default is always in it."""
    allowed = _members(systemd_analyze, "@default")
    for value in unit.settings["SystemCallFilter"]:
        words = value.removeprefix("~").split()
        calls = set().union(*(_members(systemd_analyze, word) if word[0] == "@" else {word} for word in words))
        allowed = allowed - calls if value.startswith("~") else allowed | calls
    return allowed


class Sandbox:
    """The filters of a unit. Made before the fork; `enter` runs in the child, and holds for what it becomes."""

    def __init__(self, unit: Unit, systemd_analyze: str) -> None:
        self._lib = ctypes.CDLL("libseccomp.so.2")
        self._lib.seccomp_init.restype = ctypes.c_void_p
        self._lib.seccomp_init.argtypes = [ctypes.c_uint32]
        self._lib.seccomp_load.argtypes = [ctypes.c_void_p]
        self._lib.seccomp_rule_add_array.argtypes = [
            ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_Compare)
        ]  # fmt: skip
        refusal = _ERRNO | getattr(errno, unit.one("SystemCallErrorNumber"))
        self._filters = [self._families(unit.one("RestrictAddressFamilies").split())]
        if unit.is_on("MemoryDenyWriteExecute"):
            self._filters.append(self._no_code_from_data())
        # The last, as with systemd: it forbids to load another.
        self._filters.append(self._only(allowed_calls(unit, systemd_analyze), refusal))

    def enter(self) -> None:
        for one in self._filters:
            if self._lib.seccomp_load(one) != 0:
                raise OSError("a system call filter cannot be loaded")

    def _only(self, calls: Iterable[str], refusal: int) -> int:
        made = self._new(refusal)
        for name in sorted(calls):
            self._rule(made, _ALLOW, name)
        return made

    def _no_code_from_data(self) -> int:
        """As systemd's seccomp_memory_deny_write_execute."""
        made, refusal = self._new(_ALLOW), _ERRNO | errno.EPERM
        both = mmap.PROT_WRITE | mmap.PROT_EXEC
        self._rule(made, refusal, "mmap", _Compare(2, _MASKED_EQUAL, both, both))
        for name in ("mprotect", "pkey_mprotect"):
            self._rule(made, refusal, name, _Compare(2, _MASKED_EQUAL, mmap.PROT_EXEC, mmap.PROT_EXEC))
        return made

    def _families(self, names: Iterable[str]) -> int:
        made, refusal = self._new(_ALLOW), _ERRNO | errno.EAFNOSUPPORT
        allowed = {int(getattr(socket, name)) for name in names}
        for family in set(range(1, _FAMILIES_MAX)) - allowed:
            self._rule(made, refusal, "socket", _Compare(0, _EQUAL, family, 0))
        self._rule(made, refusal, "socket", _Compare(0, _GREATER, _FAMILIES_MAX - 1, 0))
        return made

    def _new(self, default: int) -> int:
        made = self._lib.seccomp_init(default)
        assert made, "libseccomp gives no filter"
        assert isinstance(made, int)
        return made

    def _rule(self, made: int, action: int, name: str, *compares: _Compare) -> None:
        number = self._lib.seccomp_syscall_resolve_name(name.encode())
        if number < 0:  # not of this architecture
            return
        array = (_Compare * len(compares))(*compares)
        code = self._lib.seccomp_rule_add_array(made, action, number, len(compares), array)
        assert code == 0, f"libseccomp refuses a rule for {name}: {code}"
