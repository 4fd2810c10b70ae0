"""Where what is kept lies, and where webhooks lead to: labels of the operator's, which pinned accounts hold us to.

What has no label is in no account's location: whoever pins an account says that it matters where its data are.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field, Strict

from config.checks import Section, check_host

NOWHERE: Final = "none"
"""What people write to take a pin away; no label."""
_LABEL: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def is_location(text: str) -> bool:
    """Whether a text has the form of a location's label.

    >>> is_location("us-east"), is_location("US East"), is_location("none")
    (True, False, False)
    """
    return _LABEL.fullmatch(text) is not None and text != NOWHERE


def check_location(text: str) -> str:
    """Return the label of a location. Raises ValueError."""
    if not is_location(text):
        raise ValueError("must be a label of a-z, 0-9 and -, at most 63 of them, and not none: eu, us-east")
    return text


def check_host_pattern(text: str) -> str:
    """Return a host name, or `*.` before a domain. Raises ValueError.

    >>> check_host_pattern("*.EU.example.com")
    '*.eu.example.com'
    """
    below = text.removeprefix("*.")
    try:
        host = check_host(below)
    except ValueError:
        host = ""
    # A whole top-level domain lies nowhere.
    if not host or (below != text and "." not in host):
        raise ValueError("must be a host name (hooks.example.com), or *. before a domain: *.eu.example.com")
    return host if below == text else f"*.{host}"


Location = Annotated[str, Strict(), AfterValidator(check_location)]
HostPattern = Annotated[str, Strict(), AfterValidator(check_host_pattern)]


class Locations(Section):
    """Where what is kept lies, and where webhooks lead to: labels of your choice, such as `eu`."""

    database: Location | None = None
    """Of `storage.database`, and of what it is replicated to."""
    keystore: Location | None = None
    """Of `storage.keystore`."""
    blobs: Location | None = None
    """Of `storage.bucket`, or of the folder `storage.blobs_dir`."""
    webhooks: Annotated[dict[HostPattern, Location], Field(max_length=1000)] = Field(default_factory=dict)
    """Of the hosts that webhooks lead to, as hooks.example.com or *.example.com; the most exact one counts."""

    def stores(self) -> dict[str, str | None]:
        """Return the label of each store, by the setting that names the store; None where it has none."""
        return {"storage.database": self.database, "storage.keystore": self.keystore, "storage.blobs": self.blobs}

    def elsewhere(self, location: str) -> dict[str, str | None]:
        """Return, of these, those that are not in a location.

        >>> Locations(database="eu", keystore="eu", blobs="us").elsewhere("eu")
        {'storage.blobs': 'us'}
        """
        return {store: label for store, label in self.stores().items() if label != location}

    def of_host(self, host: str) -> str | None:
        """Return where a webhook's host is; None where nobody says.

        >>> Locations(webhooks={"*.example.com": "us", "*.eu.example.com": "eu"}).of_host("a.eu.example.com")
        'eu'
        """
        name = host.rstrip(".").lower()
        if name in self.webhooks:
            return self.webhooks[name]
        while "." in name:
            name = name.partition(".")[2]
            if f"*.{name}" in self.webhooks:
                return self.webhooks[f"*.{name}"]
        return None
