"""Notices that are written for people: who failed, and what the server said about each.

What is common to all servers is code, and what they differ in is data: the
lines that introduce a recipient, and the lines below which the returned
message is pasted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from ingestd.mail.addresses import normalize

READ_CHARS_MAX = 256 * 1024
_NOTICE_CHARS_MAX = 32 * 1024
_LINES_MAX = 800
_LINE_CHARS_MAX = 1000
_COUNT_MAX = 100
_BLOCK_LINES_MAX = 40

_LOCAL = r"(?:[A-Za-z0-9._%+/=&!#$'*^~{}|?-]{1,64}|\"[^\"\s<>]{1,64}\")"
ADDRESS = rf"{_LOCAL}@(?:[A-Za-z0-9-]{{1,63}}\.){{1,8}}[A-Za-z0-9-]{{2,63}}"
_ANY = re.compile(rf"(?<![A-Za-z0-9._%+/=\"-]){ADDRESS}")
_ORIGINAL_HEADER = re.compile(
    r"^[ \t>]*(?:received|return-path|message-id|from|subject|to|date|mime-version|dkim-signature|x-[a-z-]{1,40}): ?\S",
    re.IGNORECASE | re.MULTILINE,
)
_RETURNED = re.compile(
    r"^.{0,40}(?:-{2,}|={2,}|_{5,}|\*{5,}).{0,80}$|^.{0,40}(?:original (?:message|mail)|copy of (?:the"
    r"|your) (?:original )?message"
    r"|message headers?|header of|unsent message|returned message|text of (?:the )?message|below this line"
    r"|message follows"
    r"|included below|en-têtes|nachrichtenkopf|kopfzeilen|encabezados|cabeçalhos|intestazioni|заголовки"
    r"|berichtkoppen|nagłówki"
    r"|邮件头|標頭|メッセージ ヘッダー|メッセージヘッダー)\b.{0,80}$",
    re.IGNORECASE | re.MULTILINE,
)

# A line that begins with a recipient: Postfix, qmail, Exim, Gmail, Exchange, Notes, IMail, Courier, OpenSMTPD …
_BEGINS = re.compile(
    rf"^[ \t>*•·\-–]{{0,20}}(?:[<\"'(\[{{]|&lt;)?(?:mailto:|smtp:|rfc822;[ ]?)?({ADDRESS})[>\"')\]}}]*(?=[ \t]*(?:$"
    rf"|[:;,(\[<\-–]|\.\.\.|"
    rf"on \d|on \w{{3}},|am \d|le \d|el \d|failed|was |is |could|does|user|mailbox|unknown|not ))",
    re.IGNORECASE,
)
# A label before it: Messaging Server, MailMarshal, EZweb, Zoho, Domino …
_LABELLED = re.compile(
    rf"^[ \t*•\-\[(|]{{0,20}}(?:failed |original |invalid |actual |final )?(?:recipient(?:\(s\)"
    rf"|s)?(?: address(?:es)?)?|e?-?mail address|address(?:es)?(?:\(es\))?"
    rf"|rcpt(?: to)?|(?:smtp )?user|mailbox|account|status: ?error, address|(?:un)?deliver(?:ed|able) to"
    rf"|destinataires?|destinatari[oa]s?|empfänger(?:adresse)?|adresat"
    rf"|odbiorca|ontvanger|alıcı|получател[ьи]|адресат|одержувач|адрес|收件人|收件者|宛先|送信先"
    rf"|받는 사람)[ \t]*(?:address)?[:=：][ \t]*[<\"']?({ADDRESS})",
    re.IGNORECASE,
)
# Sendmail's summary lines: "550 <jane@example.com>... User unknown".
_CODED = re.compile(rf"^[ \t]{{0,8}}[45]\d\d[ \-](?:[45]\.\d\.\d{{1,3}} )?<?({ADDRESS})>?\.\.\. ", re.IGNORECASE)
# A sentence: MailFoundry, DragonFly, KDDI, InterScan, Barracuda, SES, X6 …
_SENTENCE = re.compile(
    rf"(?:deliver(?:ed|ing|y|able)?|send(?:ing)?|sent|message|mail|reach(?:ed)?|following|recipients?|size|address"
    rf"|user|errors|reason)\b[^@\n]{{0,70}}?"
    rf"(?:\b(?:to|for|address|recipients?|account|mailbox|follow(?:s|ing)|errors)"
    rf"|:)[ \t]*[:.]?[ \t]*[<\"'(\[]?({ADDRESS})",
    re.IGNORECASE,
)
_TRANSCRIPT = re.compile(rf"RCPT[ _]TO ?: ?<?({ADDRESS})", re.IGNORECASE)
_ALIAS = re.compile(
    rf"\((?:expanded|generated|ultimately generated|forwarded|delivered) (?:from"
    rf"|for):?[ \t]*<?({ADDRESS})>?\)",
    re.IGNORECASE,
)
_CODED_WORDS = re.compile(r"[45]\d\d|[45]\.\d\.\d")
_NEVER = re.compile(
    r"^(?:mailer-daemon|postmaster|mail-daemon|maildaemon|abuse|hostmaster|support|no-?reply)@", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Block:
    """A recipient that a notice names, and the server's words about it."""

    recipient: str
    alias_of: str
    """The address that was written to, where the notice says that this one was made of it."""
    words: str


@dataclass(frozen=True, slots=True)
class Notice:
    """What people are told, split from the returned message that is pasted below it."""

    text: str
    returned: str


def split_notice(text: str) -> Notice:
    """Split a notice from the returned message below it.

    >>> split_notice("It failed.\\n--- Below this line is a copy\\n\\nFrom: a@x\\nSubject: b\\nTo: c@x\\n").text
    'It failed.\\n'
    """
    for match in islice(_RETURNED.finditer(text[:READ_CHARS_MAX]), _COUNT_MAX):
        after = text[match.end() : match.end() + 3000].lstrip()
        # The header begins at once, but for a rule or an mbox line; a report's own sections are ruled off, too.
        first = "\n".join(after.split("\n", 3)[:3])
        if _ORIGINAL_HEADER.search(first) is not None and len(_ORIGINAL_HEADER.findall(after)) >= 2:
            return Notice(text[: match.start()][:_NOTICE_CHARS_MAX], text[match.end() : match.end() + READ_CHARS_MAX])
    found = re.search(r"^[ \t>]*(?:received|return-path): ?\S", text[:READ_CHARS_MAX], re.IGNORECASE | re.MULTILINE)
    if found is not None and len(_ORIGINAL_HEADER.findall(text[found.start() : found.start() + 3000])) >= 3:
        return Notice(text[: found.start()][:_NOTICE_CHARS_MAX], text[found.start() : found.start() + READ_CHARS_MAX])
    return Notice(text[:_NOTICE_CHARS_MAX], "")


def find_addresses(values: Iterable[str]) -> list[str]:
    """Return the addresses of the values in order, in normal form, each once."""
    found = (normalize(match[0]) for value in values for match in _ANY.finditer(value[:READ_CHARS_MAX]))
    return list(islice(dict.fromkeys(found), _COUNT_MAX))


def read_blocks(notice: str, known: list[str]) -> list[Block]:
    """Return the recipients of a notice with the words about each.

    `known`: recipients that are certain already (X-Failed-Recipients, a report);
    then only words about these are looked for, and each has a block.
    """
    lines = [line[:_LINE_CHARS_MAX] for line in notice.split("\n")[:_LINES_MAX]]
    sections = _sections(lines, set(known))
    order = known or list(sections)
    return [_block(address, lines, sections.get(address, [])) for address in order[:_COUNT_MAX]]


def _sections(lines: list[str], known: set[str]) -> dict[str, list[tuple[int, int]]]:
    """Return where in the notice the words about each recipient stand, as ranges of lines."""
    begins, alone = _beginnings(lines, known)
    found: dict[str, list[tuple[int, int]]] = {}
    end = following = len(lines)
    for index, address in reversed(begins):
        if alone:
            end = index + 1
        elif not _says_nothing(lines[index:following], address):
            end = following
        # else: Exim lists those with one fault above it, and what follows the last one is said of all.
        following = index
        found.setdefault(address, []).insert(0, (index, min(end, index + _BLOCK_LINES_MAX)))
    return {address: found[address] for address in dict.fromkeys(address for _, address in begins)}


def _beginnings(lines: list[str], known: set[str]) -> tuple[list[tuple[int, str]], bool]:
    """Return the lines that introduce recipients, and whether each says all; the better kind that occurs decides."""
    for pattern in (_BEGINS, _LABELLED, _CODED, _SENTENCE, _TRANSCRIPT):
        found = []
        for index, line in enumerate(lines):
            if "@" not in line:
                continue
            match = pattern.search(line)
            if match is not None and (address := normalize(match[1])) and not _NEVER.match(address):
                found.append((index, address))
        if known:
            found = [one for one in found if one[1] in known]
        if found:
            return found, pattern is _CODED
    return [], False


def _block(address: str, lines: list[str], sections: list[tuple[int, int]]) -> Block:
    """Join the lines of a recipient's sections; others that name it with a code come first."""
    words: list[str] = []
    for begin, end in sections[:_BLOCK_LINES_MAX]:
        if len(words) < _BLOCK_LINES_MAX:
            words += lines[begin:end]
    named = (line for line in lines if address in line.lower() and line not in words[:1] and _CODED_WORDS.search(line))
    joined = _unwrapped([*islice(named, 5), *words])
    match = _ALIAS.search(joined)
    return Block(address, normalize(match[1]) if match is not None else "", joined)


def _says_nothing(lines: list[str], address: str) -> bool:
    """Nothing but the address stands here."""
    return not re.sub(r"[\s<>\"'():;,.*•\-]", "", "".join(lines[:_BLOCK_LINES_MAX]).lower().replace(address, ""))


def _unwrapped(lines: list[str]) -> str:
    """Join wrapped lines, so that a code and its status are neighbours (Postfix wraps at 80 columns)."""
    return re.sub(r"\n[ \t]+(?=\S)", " ", "\n".join(lines)).strip()[:4000]
