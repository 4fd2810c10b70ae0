"""The settings' types, the YAML loader, the provider presets and the example file."""

from config.after_import import after_import_note, check_after_import, check_not_watched, split_after_import
from config.bucket import Bucket
from config.hosts import Host, allowed_hosts, endpoint_allowed, hosts
from config.loader import load
from config.locations import NOWHERE, Location, Locations, is_location
from config.mirror import MIRRORED, check_mirror_fits, check_mirrored
from config.problems import ConfigError, Position, Problem
from config.providers import Endpoint, FolderNames, GmailPush, OAuth, Provider
from config.reload import Reload, plan_reload
from config.secrets import Secret, mask_url
from config.settings import (
    Api,
    Backfill,
    Backoff,
    Egress,
    Events,
    Inbound,
    Keys,
    Linking,
    Logging,
    MailboxDefaults,
    Metrics,
    Mirror,
    Outbound,
    Parser,
    Settings,
    Storage,
    Tickets,
    Webhooks,
)

__all__ = [
    "MIRRORED",
    "NOWHERE",
    "Api",
    "Backfill",
    "Backoff",
    "Bucket",
    "ConfigError",
    "Egress",
    "Endpoint",
    "Events",
    "FolderNames",
    "GmailPush",
    "Host",
    "Inbound",
    "Keys",
    "Linking",
    "Location",
    "Locations",
    "Logging",
    "MailboxDefaults",
    "Metrics",
    "Mirror",
    "OAuth",
    "Outbound",
    "Parser",
    "Position",
    "Problem",
    "Provider",
    "Reload",
    "Secret",
    "Settings",
    "Storage",
    "Tickets",
    "Webhooks",
    "after_import_note",
    "allowed_hosts",
    "check_after_import",
    "check_mirror_fits",
    "check_mirrored",
    "check_not_watched",
    "endpoint_allowed",
    "hosts",
    "is_location",
    "load",
    "mask_url",
    "plan_reload",
    "split_after_import",
]
