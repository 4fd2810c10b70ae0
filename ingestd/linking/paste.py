"""Reading the address that a browser was sent to, as its owner pasted it. Pure.

The page behind it need not exist (`http://localhost/…`): what counts is in the address.
The same rules hold as for a callback that comes by HTTP (RFC 6749 §3.1, §4.1.2).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, urlsplit

from ingestd.linking.errors import CallbackRejected

ADDRESS_CHARS_MAX: Final = 16_384
_NAMES: Final = ("state", "code", "error", "iss")


@dataclass(frozen=True, slots=True)
class PastedAnswer:
    """The authorization response in an address."""

    state: str = field(repr=False)
    code: str | None = field(repr=False)
    error: str | None
    iss: str | None


def read_pasted(text: str, *, redirect_uri: str, state: str) -> PastedAnswer:
    """Return the answer that the pasted address holds.

    It must lead to `redirect_uri` and carry this very `state`. Raises CallbackRejected, whose
    text says what is wrong with the address and never repeats it.

    >>> read_pasted(" http://localhost/done?state=s&code=c#", redirect_uri="http://localhost/done", state="s").code
    'c'
    """
    # Terminals and mail break long addresses into lines; an address has no white space of its own.
    address = "".join(text.split())
    if not address or len(address) > ADDRESS_CHARS_MAX:
        raise CallbackRejected("that is no address")
    try:
        given, expected = urlsplit(address), urlsplit(redirect_uri)
        params = parse_qs(given.query, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise CallbackRejected("that is no address") from None
    if (given.scheme, given.netloc.lower()) != (expected.scheme, expected.netloc.lower()) or (
        given.path.rstrip("/") != expected.path.rstrip("/")
    ):
        raise CallbackRejected(f"the address must begin with {redirect_uri}")
    if any(len(params.get(name, ())) > 1 for name in _NAMES):
        raise CallbackRejected("the address names a parameter twice")
    came = {name: params[name][0] for name in _NAMES if params.get(name, [""])[0]}
    if not hmac.compare_digest(came.get("state", "").encode(), state.encode()):
        raise CallbackRejected("the address belongs to another linking: open the address above, and paste what comes")
    if ("code" in came) == ("error" in came):
        raise CallbackRejected("the address is not whole: it holds neither a code nor a refusal")
    return PastedAnswer(came["state"], came.get("code"), came.get("error"), came.get("iss"))
