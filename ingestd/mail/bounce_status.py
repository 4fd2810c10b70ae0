"""What the words of a server mean: enhanced status, reply code, and whether the address itself is no good.

A server that gives an enhanced status (RFC 3463) is believed. Where none is
given, the reply code and the words give one, by the table in `bounce_words`; it is
marked as derived.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

from ingestd.mail.bounce_words import TABLE
from ingestd.mail.phrases import Phrases, prepare

_READ_CHARS = 4000
_CODES_MAX = 50
# A version or an address is no status: nothing may go on with a dot and a digit on either side.
_STATUS = re.compile(r"(?<![\w.])([245]\.[0-7]\.\d{1,3})(?![.]?\d)")
_CODE = re.compile(
    r"(?<![\w.\-/@#%=])(?<![\d\]]:)#?([45][0-5]\d)"
    r"(?=[ \-:,;\])'\"]|$)(?![\- ]?(?:[kmg]b\b|bytes|kbytes|recipients|messages|hours?\b|days?\b|minutes|seconds"
    r"|secs?\b"
    r"|x \d))(?!:\d\d:)",
    re.IGNORECASE | re.MULTILINE,
)
_BEFORE_CODE = re.compile(
    r"(?:^|[:(\[<'\"]|said:?|code|error|returned|reason|response|error_code|with|<<<|\.\.\.)[ \t#'\"]*$", re.IGNORECASE
)

# RFC 3463 §3.2, §3.8 and RFC 7505 §4.1, RFC 7293 §4: the address, the host, or the owner of the mailbox is gone.
_HARD = frozenset({"1.1", "1.2", "1.3", "1.6", "1.10", "4.4", "7.17", "7.18"})
_ABOUT_SENDER = frozenset({"1.7", "1.8"})
# Refused before a recipient was named, or because of who wrote: the same words are about the sender then.
_BEFORE_RECIPIENT = Phrases("""
    after mail from | after initial connection | after helo | after ehlo | in reply to mail from | in reply to helo |
    in reply to ehlo | refused to talk | sender address | sender domain | domain of sender | sender is |
    unroutable sender | unrouteable sender | but sender was
""")
# Postfix puts this before every reason for which it refuses at RCPT.
_PREFIX = "recipient address rejected: "
_TEMPORARY = Phrases("temporar | persistent transient | will be retried | try again later | _deferred_ | keep trying")
_PERMANENT = Phrases("_permanent")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a server's words say."""

    status: str = ""
    reply_code: str = ""
    derived: bool = False
    hard: bool = False
    meaning: str = ""
    """What the words mean, whatever the status: a subject and detail of RFC 3463, "" for nothing."""


def judge(field: str, words: str, *, delayed: bool = False) -> Verdict:
    """Return what the report's Status `field` and the server's `words` say together.

    The words win over the field unless they are the vaguer of the two: the
    field is the reporting server's summary, and often a general 5.0.0, a 5.1.1
    for every refusal after RCPT (Sendmail), or a 4.4.7 that only says that it
    gave up, where RFC 3463 §3.5 asks for the cause.

    >>> judge("5.0.0", "550 5.1.1 <a@example.com>... User unknown")
    Verdict(status='5.1.1', reply_code='550', derived=False, hard=True, meaning='1.1')
    >>> judge("", "the recipient's mailbox is full")
    Verdict(status='5.2.2', reply_code='', derived=True, hard=False, meaning='2.2')
    """
    words = words[:_READ_CHARS]
    given = _STATUS.findall(field)[:1]
    status, code = _told(words)
    if given and (not status or _exactness(status) < _exactness(given[0])):
        status = given[0]
    prepared = prepare(words, _READ_CHARS)
    meaning = _meaning(prepared)
    if status:
        code = code if code[:1] in ("", status[0]) else _code_of_class(words, status[0]) or code
        return Verdict(status, code, derived=False, hard=_is_hard(status, meaning), meaning=meaning)
    permanent = code[0] == "5" if code else not delayed and _sounds_permanent(prepared)
    status = f"{'5' if permanent else '4'}.{meaning or '0.0'}"
    return Verdict(status, code, derived=True, hard=_is_hard(status, meaning), meaning=meaning)


def _sounds_permanent(prepared: str) -> bool:
    """A notice that says neither is about a failure: the server has given up."""
    return not _TEMPORARY.search(prepared) or _PERMANENT.search(prepared)


def has_code(words: str) -> bool:
    """Tell whether a status or reply code stands in the words.

    >>> has_code("jane@example.org: 5.1.1"), has_code("In room 12.")
    (True, False)
    """
    return _told(words[:_READ_CHARS]) != ("", "")


def meaning_of(words: str) -> str:
    """Return the subject and detail of RFC 3463 that the words mean, "" where they mean none.

    >>> meaning_of("Sorry, no mailbox here by that name"), meaning_of("Relaying denied"), meaning_of("Hello")
    ('1.1', '7.1', '')
    """
    return _meaning(prepare(words, _READ_CHARS))


def _meaning(prepared: str) -> str:
    if _PREFIX in prepared and _PREFIX + "access denied" not in prepared:
        without = prepared.replace(_PREFIX, "")
        prepared = without if without.strip() else prepared
    found = next((suffix for suffix, phrases in TABLE if phrases.search(prepared)), "")
    return "1.8" if found in _HARD and _BEFORE_RECIPIENT.search(prepared) else found


def _told(words: str) -> tuple[str, str]:
    """Return the most exact status of the words and the reply code that goes with it."""
    statuses = islice(_STATUS.finditer(words), _CODES_MAX)
    codes = list(islice(_CODE.finditer(words), _CODES_MAX))
    best = max(statuses, key=lambda match: (_exactness(match[1]), _follows_code(match, codes)), default=None)
    if best is None:
        return "", _best_code(words, codes)
    before = [code for code in codes if code.end() <= best.start() <= code.end() + 3 and code[1][0] == best[1][0]]
    return best[1], before[-1][1] if before else _best_code(words, codes)


def _follows_code(status: re.Match[str], codes: list[re.Match[str]]) -> bool:
    return any(code.end() <= status.start() <= code.end() + 3 for code in codes)


def _best_code(words: str, codes: list[re.Match[str]]) -> str:
    """Prefer a code where codes stand (line start, after "said:"), and any other to Sendmail's own 554."""
    placed = [one for one in codes if _BEFORE_CODE.search(words[max(0, one.start() - 20) : one.start()])] or codes
    exact = [one for one in placed if one[1] != "554"] or placed
    return exact[0][1] if exact else ""


def _code_of_class(words: str, digit: str) -> str:
    codes = islice(_CODE.finditer(words), _CODES_MAX)
    return _best_code(words, [match for match in codes if match[1][0] == digit])


def _exactness(status: str) -> int:
    """0 for "something failed" (x.0.0), 1 for a subject only (x.y.0) and for "it took too long", else 2."""
    _, subject, detail = status.split(".")
    if detail == "0":
        return 0 if subject == "0" else 1
    return 1 if (subject, detail) == ("4", "7") else 2


def _is_hard(status: str, meaning: str) -> bool:
    """The words count where they mean something: 5.1.1 with "mailbox full" is a full mailbox."""
    if status[0] != "5" or status[2:] in _ABOUT_SENDER:
        return False
    return (meaning or status[2:]) in _HARD
