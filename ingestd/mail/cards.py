"""Card numbers in text and subject, masked: all digits but the last four.

A number counts that the Luhn check (ISO/IEC 7812-1 annex B) proves, that has the beginning and the length of a card
scheme, and that is written as people write it: without a break, or in a card's groups. So one order number of many
hundreds is hit. Visa's numbers of 13 digits count only in groups: none was issued for decades, and European article
numbers (EAN-13) begin so. Neither do telephone numbers count, with their "+", nor pieces of an IBAN.
"""

from __future__ import annotations

import re

from ingestd.mail.rewrite import rewrite
from ingestd.mail.rewrite_views import Edit

_BREAK = "(?:[ \u00a0\u2007\u202f\\-\u2010\u2011\u2013]|\r?\n[> ]{0,8})"
_GROUPS = ("4 4 4 4 1,3", "4 4 4 4", "4 4 4 2,3", "4 6 4,5", "4 3 3 3", "8 8", "6 9,13")
_LAYOUTS = ("[0-9]{14,19}", *(_BREAK.join(f"[0-9]{{{one}}}" for one in groups.split()) for groups in _GROUPS))
_WRITTEN = re.compile(rf"(?<![0-9A-Za-z_+])(?<![0-9]\.)(?=[2-689])(?:{'|'.join(_LAYOUTS)})(?![0-9A-Za-z_])")
_GROUP = re.compile("[0-9]+")
_LAST_GROUP = re.compile("[^0-9]+[0-9]{1,3}$")
_HIDDEN = re.compile(r"[0-9](?=(?:[^0-9]*[0-9]){4})")
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?:[ \u00a0-]?[0-9A-Z]{4}){0,7}[ \u00a0-]?\Z")
_IBAN_CHARS = 42
# Beginnings, and how many digits follow.
_ISSUED = re.compile(
    "4(?:[0-9]{12}|[0-9]{15}|[0-9]{17,18})"  # Visa
    "|5[1-5][0-9]{14}|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)[0-9]{12}"  # Mastercard
    "|3[47][0-9]{13}"  # American Express
    "|3(?:0[0-5][0-9]|095|[689][0-9]{2})(?:[0-9]{10}|[0-9]{12})"  # Diners Club
    "|(?:6011|64[4-9][0-9]|65[0-9]{2})[0-9]{12,15}"  # Discover; RuPay, Troy, Verve
    "|(?:62[0-9]{2}|81[0-6][0-9]|817[01])[0-9]{12,15}"  # UnionPay
    "|35(?:2[89]|[3-8][0-9])[0-9]{12,15}"  # JCB
    "|(?:50(?:18|19|20|38)|5893|6304|6759|676[1-3])[0-9]{9,15}"  # Maestro, Dankort
    "|220[0-4][0-9]{12,15}"  # Mir
    "|(?:508|60[678]|353|356|81[789]|820)[0-9]{13}"  # RuPay
    "|(?:9792|63[67][0-9]|5041)[0-9]{12}|5067[0-9]{12,15}"  # Troy; Elo, Hipercard; Elo, Verve
)
_DOUBLED = str.maketrans("0123456789", "0246813579")
_BREAKS = dict.fromkeys(map(ord, " \u00a0\u2007\u202f-\u2010\u2011\u2013\r\n>"))
_GROUPED_CHARS = len("4111 1111 1111 1111")
_FIELDS = frozenset({"subject", "thread-topic"})
"""Outlook repeats the subject in the second."""


def mask_cards(raw: bytes) -> bytes | None:
    """Return a raw message with the card numbers of its texts and subject masked; None where it has none.

    >>> mask_cards(b"Subject: a\\n\\nMine is 4111 1111 1111 1111.")
    b'Subject: a\\n\\nMine is **** **** **** 1111.'
    """
    return rewrite(raw, find_cards, _field)


def find_cards(text: str) -> list[Edit]:
    """Return where card numbers stand in a text, and their masked forms.

    >>> find_cards("4111-1111-1111-1111 and 4111111111111112")
    [(0, 19, '****-****-****-1111')]
    """
    found: list[Edit] = []
    at = 0
    while (match := _WRITTEN.search(text, at)) is not None:
        number = match[0]
        is_card = _is_card(number)
        if not is_card and len(number) > _GROUPED_CHARS and (last := _LAST_GROUP.search(number)) is not None:
            number = number[: last.start()]  # behind the number stands its security code, or a month
            is_card = _is_card(number)
        if is_card and not _IBAN.search(text[max(0, match.start() - _IBAN_CHARS) : match.start()]):
            at = match.start() + len(number)
            found.append((match.start(), at, _HIDDEN.sub("*", number)))
        else:
            group = _GROUP.match(text, match.start())
            at = match.end() if group is None else group.end()
    return found


def _is_card(number: str) -> bool:
    digits = number.translate(_BREAKS)
    if _ISSUED.fullmatch(digits) is None or number.count("\n") > 1:
        return False
    checked = digits[::-2] + digits[-2::-2].translate(_DOUBLED)
    return (sum(checked.encode()) - ord("0") * len(checked)) % 10 == 0


def _field(name: str, value: str) -> str:
    if name not in _FIELDS:
        return value
    for start, end, masked in reversed(find_cards(value)):
        value = value[:start] + masked + value[end:]
    return value
