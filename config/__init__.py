"""The settings' types, the YAML loader, the provider presets and the example file."""

from config.hosts import Host, endpoint_allowed, hosts
from config.loader import load
from config.problems import ConfigError, Position, Problem
from config.providers import Endpoint, FolderNames, OAuth, Provider
from config.secrets import Secret, mask_url
from config.settings import (
    Api,
    Backoff,
    Egress,
    Inbound,
    Keys,
    Linking,
    Logging,
    MailboxDefaults,
    Metrics,
    Outbound,
    Parser,
    Settings,
    Storage,
)

__all__ = [
    "Api",
    "Backoff",
    "ConfigError",
    "Egress",
    "Endpoint",
    "FolderNames",
    "Host",
    "Inbound",
    "Keys",
    "Linking",
    "Logging",
    "MailboxDefaults",
    "Metrics",
    "OAuth",
    "Outbound",
    "Parser",
    "Position",
    "Problem",
    "Provider",
    "Secret",
    "Settings",
    "Storage",
    "endpoint_allowed",
    "hosts",
    "load",
    "mask_url",
]
