r"""Labels as folders: which label a name or a role means, and in which place a message lies.

INBOX, SPAM (`\Junk`), TRASH and SENT are Google's own; all else is a label of the user's, found by its name. What lies
in none of INBOX, SPAM and TRASH is archived: a place too, though no label.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from connectors.base import TemporaryError
from connectors.gmail_cursor import ALL_MAIL
from connectors.gmail_errors import BadArgument
from connectors.gmail_quota import Urgency
from connectors.gmail_session import GmailSession
from connectors.imap_folders import Role, role_of

HIDDEN = frozenset({"SPAM", "TRASH"})
"""What `messages.list` leaves out unless it is told otherwise."""
_OF_ROLE: Mapping[Role, str] = MappingProxyType({"sent": "SENT", "trash": "TRASH", "junk": "SPAM"})
_SYSTEM: Mapping[str, str] = MappingProxyType(
    {
        "inbox": "INBOX",
        "spam": "SPAM",
        "trash": "TRASH",
        "sent": "SENT",
        "[gmail]/spam": "SPAM",
        "[gmail]/trash": "TRASH",
        "[gmail]/sent mail": "SENT",
        "[gmail]/all mail": ALL_MAIL,
        "all mail": ALL_MAIL,
    }
)
"""Names in lower case, those that IMAP has for them among them."""
_NAMES: Mapping[str, str] = MappingProxyType({ALL_MAIL: "[Gmail]/All Mail"})


class Labels:
    """The labels of a mailbox, as they were last listed."""

    def __init__(self, session: GmailSession) -> None:
        self._session = session
        self._by_name: dict[str, str] | None = None

    async def find(self, wanted: str, urgency: Urgency, *, fresh: bool = False) -> str | None:
        """Return the id of the label that `wanted` names, a name or a role; None where there is none.

        `fresh`: what was listed before does not count. Raises ValueError for a role that is none of ours.
        """
        name = self._named(wanted)
        if name is None:
            role = role_of(wanted)
            assert role is not None
            return _OF_ROLE[role]
        if (system := _SYSTEM.get(name.lower())) is not None:
            return system
        if fresh or self._by_name is None or _normal(name) not in self._by_name:
            await self._list(urgency)
        assert self._by_name is not None
        return self._by_name.get(_normal(name))

    async def ensure(self, wanted: str, urgency: Urgency) -> str:
        """Return the id of a label, which is made where there is none."""
        found = await self.find(wanted, urgency)
        if found is not None:
            return found
        name = self._named(wanted) or wanted
        body = {"name": name, "labelListVisibility": "labelShow", "messageListVisibility": "show"}
        request = self._session.api.labels.create(userId="me", body=body)
        try:
            made = await self._session.call("labels.create", request, urgency, repeatable=False)
        except (TemporaryError, BadArgument):
            # It may be there by now: made by somebody else, or by a call of ours whose answer was lost.
            found = await self.find(wanted, urgency, fresh=True)
            if found is None:
                raise
            return found
        assert self._by_name is not None
        self._by_name[_normal(name)] = identity = str(made["id"])
        return identity

    async def name_of(self, label: str, urgency: Urgency) -> str:
        """Return the name of a label, as a person reads it and `find` understands it."""
        if label in _NAMES or label in _SYSTEM.values():
            return _NAMES.get(label, label)
        if label not in (self._by_name or {}).values():
            await self._list(urgency)
        return next((name for name, one in (self._by_name or {}).items() if one == label), label)

    def forget(self) -> None:
        """Let the labels be listed again: somebody may have renamed one."""
        self._by_name = None

    def _named(self, wanted: str) -> str | None:
        """Return the name that is meant; None for a role that Google has a label for."""
        role = role_of(wanted)
        if role is None:
            return wanted
        return self._session.access.role_folders.get(role) or None

    async def _list(self, urgency: Urgency) -> None:
        request = self._session.api.labels.list(userId="me", fields="labels(id,name,type)")
        found: list[dict[str, Any]] = (await self._session.call("labels.list", request, urgency)).get("labels", [])
        self._by_name = {_normal(str(one["name"])): str(one["id"]) for one in found if one.get("type") != "system"}


def lies_in(label: str, labels: Collection[str]) -> bool:
    """Whether a message with these labels lies in the place `label`.

    >>> lies_in("-", ["SENT"]), lies_in("-", ["INBOX"]), lies_in("Label_1", ["Label_1", "TRASH"])
    (True, False, False)
    """
    if label == ALL_MAIL:
        return not {"INBOX", "SPAM", "TRASH"} & set(labels)
    # What is in the bin keeps its other labels, and lies nowhere else.
    return label in labels and (label in HIDDEN or not HIDDEN & set(labels))


def _normal(name: str) -> str:
    """A name made on a Mac can be decomposed, and looks the same."""
    return unicodedata.normalize("NFC", name)
