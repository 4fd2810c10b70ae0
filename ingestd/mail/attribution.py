"""The lines by which clients introduce what they quote, in the languages of our customers.

An attribution ("On Monday, Jane wrote:") is judged by its evidence: date,
clock, address, a verb that clients use. With enough of it no verb is needed, so
that languages that we do not know are understood, too. Every pattern is bounded
and tried on short strings only; callers ask only about lines that end like an
attribution, as most lines are ordinary text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ingestd.mail.words import LANGUAGES, Words

LINE_CHARS_MAX = 700
"""Of an attribution, its wrapped lines joined."""
NONE, QUOTED, ALONE = 0, 1, 2
"""How sure an attribution is: not at all; if quoted lines follow; by itself."""

_NAME_CHARS_MAX = 60
"""Of `Jane Doe wrote:`, which has a name and nothing else."""

_MARKS = " \t\u00a0>*_|#\"'"
"""Around a line or a label: quote marks, and what stands for bold type in plain text."""
_DASHES = "-\u2010_=*~#—–\u2500\u2501\uff0d+ \t\u00a0"
# Hebrew and Arabic clients set direction marks around addresses, and one after the colon.
_INVISIBLE = dict.fromkeys(
    map(ord, "\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
)
_INVISIBLE |= {0xA0: " ", 0x202F: " ", 0x2009: " "}


def _terms(of: Callable[[Words], str]) -> list[str]:
    return [term for words in LANGUAGES for term in of(words).split("|") if term]


def _patterns(of: Callable[[Words], str]) -> str:
    """Join regular expressions, which may hold "|" inside groups."""
    return "|".join(of(words) for words in LANGUAGES if of(words))


def _literals(terms: Sequence[str]) -> str:
    return "|".join(map(re.escape, sorted(set(terms), key=len, reverse=True)))


_BEGINS = frozenset(word for term in _terms(lambda w: w.begins) for word in term.split()[:1])
_FIRST_WORD = re.compile(r"[\W_]*(\d|[^\W\d_](?:['’ʼ]?[^\W\d_])*)")
_WROTE = re.compile(
    rf"(?P<verb>{_patterns(lambda w: w.wrote)})(?P<rest>(?:[^:：\n]|(?<=\d)[:：](?=\d)|(?<=időpont):){{0,160}})[:：]?$"
)
_FIRST_PERSON = frozenset(_terms(lambda w: w.first_person))
_SECOND_PERSON = frozenset(_terms(lambda w: w.second_person))
_UNSPACED_PERSONS = tuple(term for term in (*_FIRST_PERSON, *_SECOND_PERSON) if term > "\u2e80")
_ANGLE = re.compile(r"<[^<>]{0,150}@[^<>]{1,200}>|\[mailto:[^\]]{1,200}\]|\([^()]{1,150}@[^()]{1,200}\)")
_ADDRESS = re.compile(r"[^\s<>]@[^\s<>]")
_CLOCK = re.compile(r"(?<![\d.])\d{1,2}[:.]\d{2}(?![\d./])|\d{1,2} ?[hH時时点點시] ?\d{2}|\d{1,2} ?[AaPp]\.?[Mm]\b")
_FULL_DATE = re.compile(r"\d{1,4}[./-] ?\d{1,2}[./-] ?\d{2,4}|\d{4} ?[年년]|(?<!\d)(?:19|20)\d\d(?!\d)")
_DATE = re.compile(
    rf"{_FULL_DATE.pattern}|\d{{1,2}}\.? (?:de )?[^\W\d_]{{3,12}}"
    r"|(?:(?<=[^\W\d_]{3} )|(?<=[^\W\d_]{2}\. ))\d{1,2}(?!\d)"
)
_INNER_COLON = re.compile(r"[^\W\d][:：=](?!$)|\w\[\d+\]:")
_DIGIT = re.compile(r"\d")
_NAME_BEFORE = re.compile(r"[\"'”’)]$|(?:^|[\s\"'(])([^\W\d_])[\w.'’\"()-]*$")
_NAME_ONLY = re.compile(r"(?:[^\W\d_][\w.'’/-]{0,30} ){1,4}$")
_ENDS = (":", "：", "wrote", "道", "écrit", "escribió", "escreveu", "scritto", "작성", "yazdı", "пишет", "--")
_TRAILING = " \t\u00a0*_>\u200e\u200f\u202a\u202b\u202c\u2069"


def may_end_attribution(line: str) -> bool:
    """Tell cheaply whether an attribution may end with this line."""
    return line.rstrip(_TRAILING).endswith(_ENDS) or (line.rstrip().endswith(">") and "@" in line)


def bare(line: str) -> str:
    """Return a line without invisible characters and the marks around it."""
    line = line.strip(_MARKS)
    return line if line.isprintable() else line.translate(_INVISIBLE).strip(_MARKS)


def attribution(text: str) -> int:
    """Say how surely `text` (one to five joined lines) introduces a quotation: NONE, QUOTED or ALONE.

    >>> attribution("On Mon, 2 Mar 2026 at 10:00, Jane <jane@example.com> wrote:") == ALONE
    True
    >>> attribution("Jane Doe wrote:") == QUOTED
    True
    >>> attribution("On 2 Mar 2026 at 10:00 I wrote to <support@example.com>:") == NONE
    True
    """
    if len(text) > LINE_CHARS_MAX:
        return NONE
    text = (text if text.isprintable() else text.translate(_INVISIBLE)).lstrip(_MARKS).rstrip(_MARKS.replace(">", ""))
    dashed = text.startswith("---") and text.endswith("---")
    text = text.strip(_DASHES + "\"'")
    if not text:
        return NONE  # a rule, or what stands above a signature
    colon = text.endswith((":", "："))
    angle = _ANGLE.search(text)
    figures = _DIGIT.search(text) is not None
    date, clock = figures and _DATE.search(text) is not None, figures and _CLOCK.search(text) is not None
    begins = _begins(text)
    evident = angle is not None or (date and clock) or (begins and (date or clock)) or _ADDRESS.search(text) is not None
    if not (evident or dashed):
        return QUOTED if colon and _is_named(text, begins) else NONE
    verb = _verb(text.lower())
    if verb is None:
        return _without_verb(text, angle, colon)
    if not colon and verb["rest"].strip(" )"):
        return NONE
    person = _person(text)
    if person is not None:
        # The Bat! writes `Вы писали 2 марта 2026 г., 10:00:12:`, but no client says "I wrote".
        return QUOTED if evident and person not in _FIRST_PERSON else NONE
    if dashed and (evident or _is_name(text[: verb.start()])):
        return ALONE  # Zoho, old Android, Lotus Notes: `---- Jane Doe wrote ----`
    if angle is not None and ((colon and (date or clock)) or (begins and date and clock)):
        return ALONE
    if begins and date and clock and colon and _names(text, verb):
        return ALONE
    return QUOTED


def _without_verb(text: str, angle: re.Match[str] | None, colon: bool) -> int:
    """Judge what has no verb that we know.

    Yandex, Mail.ru and the Russian Gmail write none: `02.03.2026, 10:00, "Jane" <jane@example.com>:`. Log lines
    (`postfix[1]: to=<jane@example.com>:`) have a colon or an equals sign inside.
    """
    if not colon:
        # Gmail of old: `2013/9/4 Jane <jane@example.com>`
        sender = text[:1].isdigit() and angle is not None and angle.end() == len(text)
        return QUOTED if sender and _FULL_DATE.match(text) is not None else NONE
    if _person(text) is not None or _INNER_COLON.search(text.replace("mailto:", "")) is not None:
        return NONE
    clock = _CLOCK.search(text) is not None
    if angle is not None and clock and _DATE.search(text) is not None and len(text) - angle.end() <= 20:
        return ALONE
    return QUOTED if angle is not None or (clock and _FULL_DATE.search(text) is not None) else NONE


def _begins(text: str) -> bool:
    """Tell whether a text begins as a date does in an attribution."""
    first = _FIRST_WORD.match(text)
    return first is not None and (first[1].isdigit() or first[1].lower() in _BEGINS or first[1][0] in "在于於")


def _verb(lowered: str) -> re.Match[str] | None:
    """Find the verb of an attribution; not inside a word, but Chinese and its like part no words."""
    for match in _WROTE.finditer(lowered):
        at = match.start()
        if not at or lowered[at] > "\u2e80" or not lowered[at - 1].isalpha():
            return match
    return None


def _person(text: str) -> str | None:
    """Find "I" or "you", at the beginning or in lower case: `My Shop <shop@example.com>` is a name."""
    for word in (text[:1].lower() + text[1:]).split():
        bare_word = word.strip("\"',;:()<>")
        if bare_word in _FIRST_PERSON or bare_word in _SECOND_PERSON:
            return bare_word
    if not text.isascii():
        return next((term for term in _UNSPACED_PERSONS if term in text), None)
    return None


def _names(text: str, verb: re.Match[str]) -> bool:
    """Tell whether a name stands at the verb: what a person writes there (`your colleague`) is rarely one."""
    before = _NAME_BEFORE.search(text[: verb.start()].rstrip())
    if before is not None and not (before[1] or "X").islower():
        return True
    rest = text[verb.end("verb") :].strip(" :：")  # `verb` was found in lower case
    return bool(rest) and not rest[0].islower() and not rest[0].isdigit()


def _is_named(text: str, begins: bool) -> bool:
    """`Jane Doe wrote:`, or `On Tuesday Jane wrote:`."""
    if len(text) > _NAME_CHARS_MAX or text.count(" ") > 6 or (text[:1].islower() and not begins):
        return False
    verb = _verb(text.lower())
    if verb is None or (begins and _person(text) is not None):
        return False
    return (begins and _names(text, verb)) or (not verb["rest"].strip() and _is_name(text[: verb.start()]))


def _is_name(text: str) -> bool:
    return _NAME_ONLY.match(text) is not None and not any(word[0].islower() for word in text.split())


def begins_attribution(line: str) -> bool:
    """Tell whether a wrapped attribution may begin here: with a word or figure of a date, or an address cut off."""
    line = bare(line)
    return (_begins(line) and _DIGIT.search(line) is not None) or "<" in line


_FIELDS: dict[str, str] = {}
for _kind, _of in (
    ("from", lambda w: w.from_),
    ("to", lambda w: w.to),
    ("date", lambda w: w.date),
    ("subject", lambda w: w.subject),
    ("copy", lambda w: w.copy),
):
    for _term in _terms(_of):
        _FIELDS.setdefault(_term, _kind)


def field(line: str) -> tuple[str, str] | None:
    """Return (kind, value) of a line in a block of header fields; kinds are from, to, date, subject, copy.

    >>> field("*Von:* Jane Doe"), field("| 发件人 | Jane |"), field("To be honest: no")
    (('from', 'Jane Doe'), ('from', 'Jane'), None)
    """
    head = line[:60]
    at = head.find(":")
    wide = head.find("：", 0, at if at >= 0 else None)
    at = wide if wide >= 0 else at
    if at < 0:
        if not head.startswith("|"):
            return None
        at = head.find("|", 1)
    kind = _FIELDS.get(bare(head[:at]).lower()) if at > 0 else None
    return (kind, bare(line[at + 1 : LINE_CHARS_MAX])) if kind is not None else None


def has_date(text: str) -> bool:
    """Tell whether a text names a date."""
    return _DATE.search(text) is not None


def has_clock(text: str) -> bool:
    """Tell whether a date names the time of day."""
    return _CLOCK.search(text) is not None


_ORIGINAL = frozenset(_terms(lambda w: w.original))
_FORWARDED = frozenset(_terms(lambda w: w.forwarded))
_FORWARDED_BY = tuple(
    term + " " for term in _FORWARDED if term.endswith((" by", " von", " par", " por", " da", " door"))
)
_BEGIN_FORWARDED = frozenset(_terms(lambda w: w.begin_forwarded))
_ABOVE = re.compile(
    rf"[\W_]{{0,60}}(?:\w{{1,12}} )?(?:{_literals(_terms(lambda w: w.above))})|##-.{{0,160}}-##$", re.IGNORECASE
)
_ABOVE_KEYS = frozenset(term[:3] for term in _terms(lambda w: w.above))
_RULE = re.compile(r"[\s\-\u2010_–—=*~#\u2500\u2501]{3,}$")


def is_rule(line: str) -> bool:
    """A line drawn with dashes or the like."""
    return _RULE.match(line) is not None and not line.isspace()


def _between_dashes(line: str) -> str | None:
    """Return the words between two dashes or more, "" where there are none; None for other lines."""
    line = bare(line) if not line.isascii() else line.strip(" \t>")
    core = line.strip(_DASHES)
    if len(line) > 140 or not line.startswith(("--", "\u2010\u2010", "__", "==", "**", "——", "––", "──")):
        return None
    return core.rstrip(":： ").lower()


def is_original_separator(line: str) -> bool:
    """`-----Original Message-----` and its translations."""
    return _between_dashes(line) in _ORIGINAL


def is_dashed_title(line: str) -> bool:
    """Any words between dashes: above a header block it is a separator, in whatever language."""
    core = _between_dashes(line)
    return core is not None and len(core) <= 60 and line.rstrip().endswith(("--", "__", "=="))


def is_forward_separator(line: str) -> bool:
    """What a client writes above a message that is forwarded on purpose.

    >>> is_forward_separator("---------- Forwarded message ---------")
    True
    >>> is_forward_separator("Anfang der weitergeleiteten Nachricht:")
    True
    """
    core = _between_dashes(line)
    if core is not None:
        return core in _FORWARDED or core.startswith(_FORWARDED_BY)
    return len(line) <= 100 and bare(line).rstrip(":： ").lower() in _BEGIN_FORWARDED


def is_ordinary(line: str) -> bool:
    """Tell at once whether a line, which is not blank, cannot be anything that this module knows."""
    first, last = line[0], line[-1]
    if first in _SPECIAL or ":" in line or "：" in line or line[:3].lower() in _ABOVE_KEYS:
        return False
    if last in _LAST and (last == ">" or line.rstrip(_TRAILING).endswith(_ENDS)):
        return False
    return not first.isspace() or is_ordinary(line.lstrip())


def unusual(lines: Sequence[str]) -> list[bool]:
    """Tell of each line whether it may be other than ordinary, or blank.

    >>> unusual(["Thank you.", "", "Jane wrote:", "  indented"])
    [False, True, True, True]
    """
    return [
        (first := line[:1]) in _SPECIAL_OR_NONE
        or line[-1] in _LAST
        or ":" in line
        or "：" in line
        or (first in _ABOVE_BEGINS and line[:3].lower() in _ABOVE_KEYS)
        for line in lines
    ]


_SPECIAL = frozenset("-\u2010_=*—–─#~[(|>`\uff1e")
_SPECIAL_OR_NONE = _SPECIAL | {"", *filter(str.isspace, map(chr, range(0x3001)))}
_ABOVE_BEGINS = frozenset(letter for key in _ABOVE_KEYS for letter in (key[0], key[0].upper(), key[0].title()))
_LAST = frozenset(_TRAILING) | frozenset(end[-1] for end in _ENDS)
"""With which a line ends that `_ENDS` may end."""


def is_no_separator(line: str) -> bool:
    """Tell at once, of most lines, that they stand above no forwarded message, in whatever client's words."""
    start = line.lstrip(" \t\u00a0>")
    return (
        start[:1] not in _DRAWN
        and start[:3].lower()[:3] not in _BEGIN_FORWARDED_KEYS
        and line[-1] not in _ENDS_TITLE
        and line.isprintable()
    )


def separators(lines: Sequence[str]) -> list[int]:
    """Return, by their numbers, the lines of which `is_no_separator` is not certain at a glance."""
    return [
        at
        for at, line in enumerate(lines)
        if line[:1] in _DRAWN_OR_NONE
        or line[-1] in _ENDS_TITLE
        or (line[0] in _BEGINS_FORWARDED and line[:3].lower()[:3] in _BEGIN_FORWARDED_KEYS)
        or not line.isprintable()
    ]


_DRAWN = _DASHES + _MARKS
_DRAWN_OR_NONE = frozenset(_DRAWN) | {""}
_BEGIN_FORWARDED_KEYS = frozenset(term[:3] for term in _BEGIN_FORWARDED)
_BEGINS_FORWARDED = frozenset(
    letter for key in _BEGIN_FORWARDED_KEYS for letter in (key[0], key[0].upper(), key[0].title(), "İ")
)
_ENDS_TITLE = frozenset(" :：件")


def is_above_line(line: str) -> bool:
    """The line of a helpdesk above which the answer is to be written."""
    return (len(line) <= 120 or "##-" in line[:40]) and len(line) <= 300 and _ABOVE.match(bare(line)) is not None


_BELOW = re.compile(_patterns(lambda w: w.below), re.IGNORECASE | re.MULTILINE)


def answers_are_below(text: str) -> bool:
    """Tell whether a customer says that the answers stand inside the history.

    >>> answers_are_below("Please see my answers inline."), answers_are_below("Thanks for your answer.")
    (True, False)
    """
    return _BELOW.search(text[:2000]) is not None
