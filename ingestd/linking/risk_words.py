"""What a risk of a mailbox's access means, and what to do, in words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from config import Provider
from ingestd.cures import Words
from ingestd.linking.risks import Risk, Threat

_LINK_AGAIN = "`ingestd mailbox link --again {mailbox}` prints an address for the owner."

WORDS: Mapping[Risk, Words] = MappingProxyType(
    {
        Risk.CLIENT_SECRET_EXPIRING: Words(
            "The secret of our application at {provider} {ends} on {day}: without a good one no mailbox of this "
            "provider gets tokens, and none of them is read.",
            "Make a new secret in the provider's console, put it and its last day into the configuration "
            "(`providers.{provider}.oauth.client_secret`, `client_secret_expires_at`), and let the daemon read it "
            "again; then delete the old one there. No mailbox needs to be linked again.",
        ),
        Risk.GRANT_IDLE: Words(
            "The grant was not used for long: the provider ends it on {day}, and then the owner must link the mailbox "
            "again.",
            "Let the mailbox be worked on: `ingestd mailbox resume {mailbox}` where it is paused, else cure what keeps "
            "it from being read. The next refresh ends this warning.",
        ),
        Risk.GRANT_ENDING: Words(
            "The provider gave the grant for a limited time: it {ends} on {day}.",
            "Have the mailbox linked again before: " + _LINK_AGAIN,
        ),
        Risk.APP_IN_TESTING: Words(
            "Our application at {provider} is in a trial state: the provider ends its grants after some days{at_end}, "
            "and then the owner must link the mailbox again.",
            "Publish the application in the provider's console, take `providers.{provider}.oauth.testing` out of the "
            "configuration, and have the mailbox linked again: a grant from before keeps its end. " + _LINK_AGAIN,
        ),
        Risk.PUBLISHER_UNVERIFIED: Words(
            "The provider has not verified who publishes our application: owners may be warned, or not be allowed to "
            "give access at all, when the mailbox has to be linked again.",
            "Have the publisher verified in the provider's console, then take "
            "`providers.{provider}.oauth.publisher_verified` out of the configuration.",
        ),
        Risk.SCOPE_MISSING: Words(
            "The grant allows less than the configuration asks for. It lacks: {scopes}.",
            "Have the mailbox linked again, with every box ticked: " + _LINK_AGAIN + " Where it is not needed, take it "
            "out of `providers.{provider}.oauth.scopes`.",
        ),
    }
)

_AT_THE_PROVIDER: Mapping[tuple[str, Risk], str] = MappingProxyType(
    {
        ("google", Risk.APP_IN_TESTING): "Google Cloud console, Google Auth Platform, Audience: Publish app, or make "
        "it internal. Where the application is published, the owner gave access for a limited time.",
        ("google", Risk.CLIENT_SECRET_EXPIRING): "Google Cloud console, Google Auth Platform, Clients.",
        ("microsoft", Risk.CLIENT_SECRET_EXPIRING): "Entra admin center, App registrations, Certificates & secrets.",
        ("microsoft", Risk.PUBLISHER_UNVERIFIED): "Entra admin center, App registrations, Branding & properties. Until "
        "then an administrator of the owner's organisation can consent for all.",
        ("microsoft", Risk.SCOPE_MISSING): "Where users may not consent by themselves, an administrator does.",
    }
)


def explain_risk(risk: Risk, threat: Threat, provider: Provider, mailbox_id: UUID, now: datetime) -> Words:
    """Return what a risk means for a mailbox, and what to do."""
    ends_at = threat.ends_at
    day = f"{ends_at:%Y-%m-%d}" if ends_at is not None else ""
    names = {
        "mailbox": str(mailbox_id),
        "provider": provider.name,
        "day": day,
        "ends": "ended" if ends_at is not None and ends_at <= now else "ends",
        "at_end": f", this one on {day}" if day else "",
        "scopes": ", ".join(threat.scopes),
    }
    words = WORDS[risk]
    cure = words.cure.format(**names)
    if (more := _AT_THE_PROVIDER.get((provider.kind, risk))) is not None:
        cure = f"{cure} {more}"
    return Words(words.meaning.format(**names), cure)
