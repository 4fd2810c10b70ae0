"""What of a changed configuration a running daemon can take over, and what needs a restart. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from config.checks import Section
from config.settings import Settings

RESTART: Final = frozenset(
    {
        "storage",
        "keys",
        "api",
        "parser",
        "metrics",
        "shutdown_seconds",
        "workers",
        "inbound.message_bytes_max",  # the parser's processes have it
        "inbound.imap_threads",
        "inbound.imap_threads_per_host_max",
        "inbound.logins_per_host_max",
        "inbound.gmail_threads",
        "inbound.lease_seconds",
        "inbound.heartbeat_seconds",
        "inbound.mailboxes_max",
        "linking",
        "webhooks.in_flight_max",
        "webhooks.hold_seconds",
        "webhooks.tls_ca_file",
        "events.catching_up_max",
        "events.streams_max",  # the server's connections
        "locations.database",  # said of what runs, and that stays
        "locations.keystore",
        "locations.blobs",
    }
)
"""What is built once for the life of a process: sections, or single settings of one."""


@dataclass(frozen=True, slots=True)
class Reload:
    """What a reload comes to."""

    settings: Settings
    """Those to go on with: the new ones, but for what needs a restart."""
    applied: tuple[str, ...]
    """The sections that change now."""
    kept: tuple[str, ...]
    """Sections, or single settings of one, that changed in the file and stay as they are until a restart."""


def plan_reload(running: Settings, wanted: Settings) -> Reload:
    """Compare the configuration that runs with the one in the file."""
    applied, kept, values = [], [], {}
    for name in Settings.model_fields:
        old, new = getattr(running, name), getattr(wanted, name)
        if old == new:
            continue
        if name in RESTART:
            kept.append(name)
            continue
        stay = _stay(name, old, new)
        kept += [f"{name}.{one}" for one in stay]
        values[name] = new.model_copy(update=stay) if stay else new
        if values[name] != old:
            applied.append(name)
    return Reload(running.model_copy(update=values), tuple(applied), tuple(kept))


def _stay(section: str, old: object, new: object) -> dict[str, object]:
    """Return the old values of the section's settings that changed but need a restart."""
    if not isinstance(old, Section) or not isinstance(new, Section):
        return {}
    fields = [name for name in type(old).model_fields if f"{section}.{name}" in RESTART]
    return {name: getattr(old, name) for name in fields if getattr(old, name) != getattr(new, name)}
