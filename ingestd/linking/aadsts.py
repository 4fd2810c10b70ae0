"""Microsoft's error numbers (AADSTS…), as far as they change what is done next. Pure.

Microsoft answers `invalid_grant` to a dead grant, to a missing second factor and to an
administrator's no alike; the number tells them apart.
Source: Microsoft Entra authentication and authorization error codes.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Any, Final

_IN_TEXT: Final = re.compile(r"AADSTS([0-9]{4,9})")
_CODES_MAX: Final = 20


class Meaning(enum.Enum):
    """What a number means for a grant."""

    GRANT_ENDED = enum.auto()
    OWNER = enum.auto()
    """The owner must sign in or consent again."""
    ADMIN = enum.auto()
    """An administrator of the owner's organisation must act."""
    OPERATOR = enum.auto()
    """Our registration or our configuration is wrong."""


MEANINGS: Final[Mapping[int, Meaning]] = {
    700082: Meaning.GRANT_ENDED,  # the refresh token was not used for too long
    70008: Meaning.GRANT_ENDED,  # the refresh token (or code) has expired
    50173: Meaning.GRANT_ENDED,  # revoked: the password was changed or reset
    700084: Meaning.GRANT_ENDED,  # issued to a single-page app: 24 hours, and never longer
    50034: Meaning.GRANT_ENDED,  # the account does not exist any more
    50076: Meaning.OWNER,  # a second factor is wanted
    50079: Meaning.OWNER,  # a second factor must be registered
    50078: Meaning.OWNER,  # the second factor has expired
    50072: Meaning.OWNER,  # the owner must enrol for a second factor
    50074: Meaning.OWNER,  # strong authentication is wanted
    50133: Meaning.OWNER,  # the session has ended with the password
    50158: Meaning.OWNER,  # a challenge of another service was not met
    65001: Meaning.OWNER,  # nobody has consented to the application
    65004: Meaning.OWNER,  # the owner declined
    90094: Meaning.ADMIN,  # an administrator must consent
    90093: Meaning.ADMIN,  # the same, for a permission that users cannot give
    90095: Meaning.ADMIN,  # the same, by a request to the administrator
    65005: Meaning.ADMIN,  # the application asks for what the organisation does not have
    650052: Meaning.ADMIN,  # the organisation has not enabled the service
    50105: Meaning.ADMIN,  # the owner is not assigned to the application
    50057: Meaning.ADMIN,  # the account is disabled
    53000: Meaning.ADMIN,  # conditional access: the device
    53001: Meaning.ADMIN,  # conditional access: the device is not joined
    53003: Meaning.ADMIN,  # conditional access
    7000112: Meaning.ADMIN,  # the application is disabled
    7000229: Meaning.ADMIN,  # the application is not in the directory: no administrator has consented
    700016: Meaning.OPERATOR,  # no such application in the directory
    7000215: Meaning.OPERATOR,  # the secret is wrong (its id was copied in place of its value)
    7000222: Meaning.OPERATOR,  # the secret has expired
    7000218: Meaning.OPERATOR,  # a secret is wanted, or "allow public client flows"
    700025: Meaning.OPERATOR,  # a secret came from a public client
    50011: Meaning.OPERATOR,  # the redirect address is not registered
    50194: Meaning.OPERATOR,  # an application of one directory, asked through `common`
    50020: Meaning.OPERATOR,  # an account of another directory than the application is for
    90002: Meaning.OPERATOR,  # no such directory
    70011: Meaning.OPERATOR,  # a scope is not valid
    1002012: Meaning.OPERATOR,  # application permissions are asked for as .default of one resource
    9002331: Meaning.OPERATOR,  # an application for personal accounts only: tenant must be consumers
}


def number_of(document: Mapping[str, Any]) -> int | None:
    """Return the number in an error answer, None where there is none.

    >>> number_of({"error": "invalid_grant", "error_codes": [50173]})
    50173
    >>> number_of({"error": "invalid_grant", "error_description": "AADSTS700082: The refresh token has expired"})
    700082
    """
    codes = document.get("error_codes")
    if isinstance(codes, list):
        numbers = [one for one in codes[:_CODES_MAX] if isinstance(one, int) and not isinstance(one, bool)]
        if numbers:
            return next((one for one in numbers if one in MEANINGS), numbers[0])
    text = document.get("error_description")
    found = _IN_TEXT.search(text[:200]) if isinstance(text, str) else None
    return int(found[1]) if found else None
