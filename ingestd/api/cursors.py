"""Cursors of lists that are sorted by more than an id: opaque to clients, and of one order alone."""

from __future__ import annotations

import base64
import binascii
import struct
from datetime import UTC, datetime, timedelta
from typing import Final

from ingestd.api.problems import Problem
from ingestd.api.shapes import NUMBER_MAX
from storage.ticket_lists import TicketOrder, TicketPlace

CURSOR_CHARS_MAX: Final = 100

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS_MAX: Final = (datetime(9000, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_FORM: Final = struct.Struct(">BBqq")
"""Version and order, the microseconds of the last change, the number: 18 bytes, 24 characters without padding."""
_VERSION: Final = 1
_ORDERS: Final = tuple(TicketOrder)


def encode_place(place: TicketPlace, order: TicketOrder, *, descending: bool) -> str:
    microseconds = (place.updated_at - _EPOCH) // timedelta(microseconds=1)
    packed = _FORM.pack(_VERSION, _order_byte(order, descending), microseconds, place.number)
    return base64.urlsafe_b64encode(packed).decode("ascii")


def decode_place(text: str, order: TicketOrder, *, descending: bool) -> TicketPlace:
    """Return the place of a cursor that `encode_place` made for this order. Raises Problem."""
    try:
        packed = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
        version, of, microseconds, number = _FORM.unpack(packed)
    except (UnicodeEncodeError, binascii.Error, struct.error):
        raise _wrong() from None
    if (version, of) != (_VERSION, _order_byte(order, descending)):
        raise _wrong()
    if not (0 <= microseconds <= _MICROSECONDS_MAX and 1 <= number <= NUMBER_MAX):
        raise _wrong()
    return TicketPlace(number, _EPOCH + timedelta(microseconds=microseconds))


def _order_byte(order: TicketOrder, descending: bool) -> int:
    return 2 * _ORDERS.index(order) + descending


def _wrong() -> Problem:
    where = [{"where": "query/after", "message": "must be `next` of a page of this list, in the same order"}]
    return Problem("invalid", errors=where)
