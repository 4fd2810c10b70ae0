"""What an operator decides about tickets, in the form in which a batch is decided by it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from config import Tickets
from ingestd.mail.addresses import domain_of, normalize


@dataclass(frozen=True, slots=True)
class Rules:
    follow_up_after: timedelta | None = timedelta(days=30)
    """An answer to a ticket that was closed so long before opens a new one; None: it always opens the old one again."""
    sender_tickets_max: int = 200
    """Tickets that one sender may open within `window`; 0: no limit."""
    ticket_messages_max: int = 100
    """Messages that a ticket may get within `window`; 0: no limit."""
    window: timedelta = timedelta(hours=1)
    bounces_within: timedelta = timedelta(days=5)
    """A bounce that proves nothing may be that of a reply which was sent so long ago at most; 0: of none."""
    agents: frozenset[str] = frozenset()
    """Addresses and domains of those whose forwarded mail offers its first sender as requester."""

    def is_agent(self, address: str) -> bool:
        """Whether the address is of somebody who forwards mail for others.

        >>> Rules(agents=frozenset({"example.com"})).is_agent("Kim@Example.com")
        True
        """
        bare = normalize(address)
        return bare in self.agents or domain_of(bare) in self.agents


def rules_of(settings: Tickets) -> Rules:
    return Rules(
        follow_up_after=timedelta(days=settings.follow_up_after_days) if settings.follow_up_after_days else None,
        sender_tickets_max=settings.sender_tickets_max,
        ticket_messages_max=settings.ticket_messages_max,
        window=timedelta(seconds=settings.flood_window_seconds),
        bounces_within=timedelta(days=settings.bounce_days),
        agents=frozenset(map(normalize, settings.agents)),
    )
