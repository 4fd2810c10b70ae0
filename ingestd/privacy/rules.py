"""When a suspended account is warned, and when it is erased: values in, values out.

Its period runs from the suspension. Whatever happens to rules, clocks and daemons, nobody is erased without notice: the
first warning is always as old as the longest of `warn_days`, and the last one as old as the shortest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Rule:
    """Accounts with so many tickets or more are erased so many days after they were suspended."""

    tickets_min: int
    days: int


@dataclass(frozen=True, slots=True)
class Rules:
    suspended: Sequence[Rule]
    """Of those that fit, the shortest counts; without any, nothing is erased."""
    warn_days: Sequence[int]
    """How many days before an erasure it is told, each once."""

    @property
    def tickets_max(self) -> int:
        """How far an account's tickets have to be counted.

        >>> Rules([Rule(0, 92), Rule(100_000, 31)], [1]).tickets_max
        100000
        """
        return max((one.tickets_min for one in self.suspended), default=0)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a suspended account."""

    since: datetime
    tickets: int
    held: bool = False
    warned: Mapping[int, datetime] = field(default_factory=dict)
    """When it was warned, by the days that were left."""


@dataclass(frozen=True, slots=True)
class Verdict:
    erase_at: datetime | None
    """None: as it stands, never."""
    warn: int | None = None
    """Warn it now, so many days being left."""
    erase: bool = False
    """Erase it now."""


def decide(facts: Facts, rules: Rules, now: datetime) -> Verdict:
    """Return what is to be done with a suspended account now.

    >>> from datetime import UTC
    >>> begin, day = datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=1)
    >>> rules = Rules([Rule(0, 92), Rule(100_000, 31)], [30, 7, 1])
    >>> decide(Facts(begin, 12), rules, begin + 61 * day).warn
    >>> decide(Facts(begin, 12), rules, begin + 62 * day).warn
    30
    >>> decide(Facts(begin, 12, held=True), rules, begin + 500 * day)
    Verdict(erase_at=None, warn=None, erase=False)
    """
    fitting = [one.days for one in rules.suspended if facts.tickets >= one.tickets_min]
    if facts.held or not fitting:
        return Verdict(None)
    at = _erase_at(facts, rules, facts.since + timedelta(days=min(fitting)), now)
    due = [days for days in rules.warn_days if at - now <= timedelta(days=days)]
    if due and not any(days <= min(due) for days in facts.warned):
        return Verdict(at, warn=min(due))
    return Verdict(at, erase=now >= at)


def _erase_at(facts: Facts, rules: Rules, due: datetime, now: datetime) -> datetime:
    if not rules.warn_days:
        return due
    first, last = timedelta(days=max(rules.warn_days)), timedelta(days=min(rules.warn_days))
    warned_first = min(facts.warned.values(), default=max(now, due - first))
    at = max(due, warned_first + first)
    warned_last = [when for days, when in facts.warned.items() if timedelta(days=days) <= last]
    return max(at, min(warned_last, default=max(now, at - last)) + last)
