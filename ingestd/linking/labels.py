"""What people call the providers."""

from __future__ import annotations

from typing import Final

_LABELS: Final = {
    "fastmail": "Fastmail",
    "google": "Google",
    "mailru": "Mail.ru",
    "microsoft": "Microsoft 365 / Outlook.com",
    "yahoo": "Yahoo",
    "yandex": "Yandex",
}


def label_of(name: str, kind: str) -> str:
    """Return what a provider is called on a button: by its preset, else by its name in the configuration.

    >>> label_of("work", "google"), label_of("example", "generic")
    ('Google', 'example')
    """
    return _LABELS.get(kind, name)
