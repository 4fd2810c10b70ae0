"""The few pages that a person sees while linking a mailbox: plain HTML, no scripts, nothing loaded."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.responses import HTMLResponse

from ingestd.api.edge import LinkOutcome
from ingestd.api.problems import SECURITY_HEADERS

_STYLE: Final = (
    "body{font:1.125rem/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto 0;padding:0 1rem;"
    "color:#1a1a1a;background:#fff}h1{font-size:1.5rem}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

PAGE_HEADERS: Final[Mapping[str, str]] = {
    **SECURITY_HEADERS,
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Robots-Tag": "noindex",
}


@dataclass(frozen=True, slots=True)
class _Text:
    status: int
    title: str
    body: str


_ASK_AGAIN: Final = "Ask for a new link where you got this one."

_TEXTS: Final[Mapping[LinkOutcome, _Text]] = {
    LinkOutcome.LINKED: _Text(200, "Mailbox linked", "You can close this window."),
    LinkOutcome.DENIED: _Text(
        403, "Mailbox not linked", f"Access was not granted, so nothing was changed. To link it after all: {_ASK_AGAIN}"
    ),
    LinkOutcome.EXPIRED: _Text(410, "This link is no longer valid", f"It was used already or is too old. {_ASK_AGAIN}"),
    LinkOutcome.OTHER_BROWSER: _Text(
        403,
        "Mailbox not linked",
        "The sign-in began in another browser, or cookies are blocked. "
        "Open the link again and sign in in the same browser, with cookies allowed.",
    ),
    LinkOutcome.WRONG_MAILBOX: _Text(
        409,
        "Another mailbox was signed in to",
        "This link is for a different mailbox, so nothing was changed. "
        f"{_ASK_AGAIN} Then choose the right account when the provider asks.",
    ),
    LinkOutcome.ALREADY_LINKED: _Text(
        409, "This mailbox is already linked", "Nothing was changed. You can close this window."
    ),
    LinkOutcome.CONSENT_OR_MFA: _Text(
        403,
        "The provider wants another confirmation",
        f"Your provider asks for a consent or a second sign-in step that was not completed. {_ASK_AGAIN}",
    ),
    LinkOutcome.ADMIN_BLOCKED: _Text(
        403,
        "Your administrator must allow this",
        "Your organisation does not let people link this application themselves. "
        "Ask its administrator to approve it, then ask for a new link.",
    ),
    LinkOutcome.PROTOCOL_DISABLED: _Text(
        409,
        "This mailbox cannot be reached",
        "Mail programs (IMAP and SMTP) are switched off for it. "
        "Switch them on in the mailbox's settings, or ask its administrator; then ask for a new link.",
    ),
    LinkOutcome.ELSEWHERE: _Text(
        409,
        "This mailbox cannot be linked here",
        "Your helpdesk's data are to stay in one location, and here they would not. "
        "Nothing was kept. Ask your helpdesk for help.",
    ),
    LinkOutcome.SCOPE_MISSING: _Text(
        403,
        "A permission is missing",
        "Not every permission was granted that reading and sending mail needs. "
        f"{_ASK_AGAIN} Then leave all boxes ticked.",
    ),
    LinkOutcome.UNAVAILABLE: _Text(
        503, "Please try again in a few minutes", "The mailbox's provider or our service could not be reached."
    ),
    LinkOutcome.FAILED: _Text(
        502, "Mailbox not linked", f"The provider's answer could not be used, so nothing was changed. {_ASK_AGAIN}"
    ),
}

_PAGE: Final = (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    "<title>{title}</title><style>{style}</style></head>\n"
    "<body><main><h1>{title}</h1>{mailbox}<p>{body}</p></main></body></html>\n"
)


def page(outcome: LinkOutcome, *, mailbox: str = "", headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """Return the page of an outcome. `mailbox` is shown, escaped, in a paragraph of its own."""
    text = _TEXTS[outcome]
    # bdi: an address in another script must not turn the sentence around it.
    shown = f"<p><bdi>{html.escape(mailbox[:320])}</bdi></p>" if mailbox else ""
    content = _PAGE.format(title=html.escape(text.title), style=_STYLE, mailbox=shown, body=html.escape(text.body))
    return HTMLResponse(content, status_code=text.status, headers={**PAGE_HEADERS, **(headers or {})})
