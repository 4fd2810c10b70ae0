"""Finds what stands beneath a text without being part of it: signatures, devices' lines, footers of lists, disclaimers.

Only what is known by its form is cut. "Regards, Jane" is the customer's word and stays.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ingestd.mail.attribution import bare, is_rule
from ingestd.mail.words import LANGUAGES

_ROUNDS_MAX = 6
_SIGNATURE_LINES_MAX = 25
_FOOTER_LINES_MAX = 12
_BARE_LINES_MAX = 12
_DISCLAIMER_LINES_MAX = 40
_DEVICE_CHARS_MAX = 130
_BEGIN_CHARS = 400
"""More than `_MAIL` reads."""


def _keys(words: str) -> tuple[str, ...]:
    return tuple(words.split("|"))


_DEVICE = re.compile(
    rf"(?:{'|'.join(words.device for words in LANGUAGES if words.device)})(?: ?[<(\[]?https?://\S{{1,80}}[>)\]]?)?$",
    re.IGNORECASE,
)
_FOOTER_KEYS = _keys("vir|вирус|print|imprim|umwelt|milieu|stampar|wydruk|yazdır")
_FOOTER = re.compile(
    r"(?:this (?:e-?mail|message) has been (?:checked|scanned) for viruses|virus[- ]free\.|virenfrei\.|без вирусов\.|"
    r"diese e-?mail wurde .{0,30}auf viren geprüft|garanti sans virus\.|l'absence de virus dans ce courrier|"
    r"libre de virus\.|livre de vírus\.|(?:privo|mail priva) di virus\.|wolny od wirusów\.|virusvrij\.|"
    r"virüs bulunmuyor\.|(?:please )?(?:consider|think (?:of|about)) the environment before|think before you print|"
    r"(?:bitte )?denken sie an die umwelt|bitte prüfen sie der umwelt|(?:merci de )?pense[rz] à l['’]environnement|"
    r"antes de imprimir est[ea]|prima di stampare quest[ao]|denk aan het milieu|"
    r"zanim wydrukujesz t[ęeą]|bu e-postayı yazdırmadan).{0,100}$",
    re.IGNORECASE,
)
_DEVICE_KEYS = _keys("|".join(words.device_key for words in LANGUAGES if words.device_key))
_CONTACT = re.compile(r"\S@\S+\.\S|https?://|\bwww\.|(?:\+|\b00?|\()\d[\d ()./-]{6,}|\d{3}[ .-]\d{3,4}|📧|📱|☎|[|·•]")
_LIST = re.compile(
    r"^[^\n]{1,80}\b(?:mailing[ -]?list|mailingliste?|liste de diffusion|список рассылки|lista de correo|"
    r"lista de discussão|メーリングリスト)$.*(?:\S@\S|https?://)|/listinfo/|^https://groups\.google\.com/",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)
_CLOSING = re.compile(
    r"(?:(?:best|kind|warm|many)\b.{0,12}(?:regards|wishes)|regards|sincerely|cheers|thanks|thank you|best|"
    r"mit freundlichen|viele grüße|freundliche grüße|beste grüße|cordialement|bien à vous|saludos|un saludo|"
    r"atenciosamente|cumprimentos|cordiali saluti|saluti|pozdrawiam|z poważaniem|met vriendelijke|groet|saygılar|"
    r"с уважением|з повагою|此致|よろしく|敬具|감사)",
    re.IGNORECASE,
)
"""Words that close a letter: beneath dashes they belong to the signature, anywhere else to the text."""
_OWN_NAME = re.compile(r"[-–—][^\W\d_a-z][\w.'’-]{0,25}(?: [^\W\d_a-z][\w.'’-]{0,25}){1,2}$")
_SECRET = _keys(
    "confidenti|confidenci|confidenz|vertraulich|riservat|poufn|vertrouwelijk|gizli|privileged|конфиденциал|"
    "конфіденц|机密|機密|保密|기밀|비밀|秘密|sekret|důvěrn|bizalmas|fortrol"
)
_RECIPIENT = _keys(
    "recipient|addressee|addressed|intended|empfänger|adressat|destinat|odbiorc|adresat|címzett|ontvanger|"
    "geadresseerde|bestemd|alıcı|muhatap|адресат|получател|предназначен|одержувач|призначен|收件人|接收|收件者|受信者|"
    "宛先|수신|mottag|modtager|mottaker|příjemc"
)
_MAIL = re.compile(
    r"(?:[\W_]{0,20}(?:disclaimer|confidentiality|confidential|notice|important|legal|privileged|avis|aviso|hinweis|wichtig|"
    r"avertissement|avvertenza|uwaga|внимание|увага|uyarı|免责声明|免責聲明|免責事項)\b[^\n]{0,60}[:\s]\s{0,4}|[\W_]{0,20})"
    r"[^\n]{0,40}(?:e-?mail|mail|message|communication|transmission|nachricht|courriel|correo|mensaje|mensagem|messaggio|"
    r"wiadomoś|korespondencj|bericht|ileti|e-posta|письм|сообщени|повідомлен|лист|邮件|郵件|メール|메일|메시지|"
    r"information|informazion|informacj|informaci|informaç|meddelande|meddelelse|melding|zpráva|üzenet)",
)


def _holds(text: str, keys: Sequence[str]) -> bool:
    for key in keys:  # noqa: SIM110  (a generator costs twice as much as the search itself)
        if key in text:
            return True
    return False


def is_device_line(line: str) -> bool:
    """`Sent from my iPhone` and its like.

    >>> is_device_line("Sent from my iPhone"), is_device_line("Sent from my iPhone, can you read it?")
    (True, False)
    """
    line = bare(line)
    if len(line) > _DEVICE_CHARS_MAX or line.endswith("?"):
        return False
    lowered = line.lower()
    if _holds(lowered, _FOOTER_KEYS):
        return _FOOTER.match(line) is not None
    # With a comma or a full stop inside it is a sentence.
    known = _holds(lowered, _DEVICE_KEYS) and not (", " in line or ". " in line)
    return known and _DEVICE.match(line) is not None


def strip_signature(lines: list[str], sender: str = "") -> tuple[list[str], list[str]]:
    """Return the lines without what is no text of the sender's beneath them, and what was cut, in fixed words.

    `sender` is the sender's name, as the header has it.

    >>> strip_signature(["Thanks.", "", "-- ", "Jane Doe"])
    (['Thanks.'], ['signature'])
    """
    why: list[str] = []
    end = len(lines)
    for _ in range(_ROUNDS_MAX):
        while end and not lines[end - 1].strip():
            end -= 1
        cut = _one(lines, end, sender)
        if cut is None or not any(line.strip() for line in lines[: cut[0]]):
            break
        end = cut[0]
        why.append(cut[1])
    return (lines[:end] if why else lines), why


def _one(lines: list[str], end: int, sender: str) -> tuple[int, str] | None:
    """Return where the lowest thing that is no text begins, and what it is."""
    if not end:
        return None
    last = bare(lines[end - 1])
    if is_device_line(last):
        return end - 1, "device line"
    begin = max(0, end - _SIGNATURE_LINES_MAX)
    drawn = [at for at in range(begin, end) if lines[at][:1] in _DRAWN and _is_delimiter_line(lines[at])]
    if drawn and (at := _footer(lines, drawn, end)) is not None:
        return at, "list footer"
    if drawn and (at := _delimiter(lines, drawn, end)) is not None:
        return at, "signature"
    if (at := _disclaimer(lines, end)) is not None:
        return at, "disclaimer"
    if end > 1 and not lines[end - 2].strip() and _is_own_name(lines[end - 1].strip(), sender):
        return end - 1, "signature"
    return None


def _is_own_name(line: str, sender: str) -> bool:
    """`-Jane Doe`; with a blank, `- Jane`, it may be an answer in a list and must be the sender's name."""
    if len(line) > 60 or line[:1] not in "-–—":
        return False
    words = line[1:].lower().split()
    return _OWN_NAME.match(line) is not None or (bool(words) and set(words) <= set(sender.lower().split()))


def _footer(lines: list[str], drawn: Sequence[int], end: int) -> int | None:
    """Mailman's footer, beneath a rule."""
    at = next((at for at in reversed(drawn) if at <= end - 2), -1)
    if at <= end - _FOOTER_LINES_MAX or at < 0:
        return None
    return at if _LIST.search("\n".join(line[:200] for line in lines[at:end])) else None


_DRAWN = frozenset("-_—–=*")


def _is_delimiter_line(line: str) -> bool:
    return is_rule(line) or line.rstrip() in ("--", "__", "—", "––")


def _delimiter(lines: list[str], drawn: Sequence[int], end: int) -> int | None:
    """Find the last line that parts text and signature: `-- ` (RFC 3676 §4.3), or what clients make of it."""
    for at in reversed(drawn):
        line = lines[at].replace("\u00a0", " ")
        below = [one.strip() for one in lines[at + 1 : end] if one.strip()]
        if _in_code(lines, at) or any(one.endswith((";", "{", "}")) for one in below):
            return None
        if line == "-- " or (line.rstrip() == "--" and not below):
            return at
        return at if _is_signature(below, named=line.rstrip() == "--") else None
    return None


def _in_code(lines: list[str], at: int) -> bool:
    return len([line for line in lines[:at] if line[:3] == "```"]) % 2 == 1


def _is_signature(below: Sequence[str], named: bool) -> bool:
    """Judge lines beneath dashes without the blank that RFC 3676 asks for: verses and lists are parted so, too.

    `named`: the dashes are two, so that a name alone is enough; else an address or a telephone number is asked for.
    """
    if not below or len(below) > _BARE_LINES_MAX or any(len(line) > 160 for line in below[:3]):
        return False
    first = below[0].strip("*_ ")
    if named and len(below) <= 6 and max(map(len, below)) <= 60 and _CLOSING.match(first):
        return True
    if first.endswith(("?", "!", ":", ".")) or len(first) > 80:
        return False
    if len(below) > 1 or "|" in first:
        if _CONTACT.search("\n".join(below)) is not None:
            return _is_name(first) or (named and len(first.split()) <= 3)
        return named and _is_name(first)
    return named and (_is_name(first) or (len(first.split()) == 1 and first.isalpha()) or is_device_line(first))


def _is_name(line: str) -> bool:
    """Up to five words, or a few more around bars, each with a capital or without case."""
    words = line.split()
    return len(words) <= (10 if "|" in line else 5) and not any(word[0].islower() for word in words)


def _disclaimer(lines: list[str], end: int) -> int | None:
    """Find a last paragraph that calls the mail confidential and names whom it is meant for."""
    begin = end
    while begin and lines[begin - 1].strip() and end - begin < _DISCLAIMER_LINES_MAX:
        begin -= 1
    paragraph = " ".join(map(str.strip, lines[begin:end]))[:4000]
    if len(paragraph) < 40 or (len(paragraph) < 140 and max(paragraph[:50]) <= "\u2e80"):
        return None
    if _MAIL.match(paragraph[:_BEGIN_CHARS].lower()) is None:
        return None  # nearly all: what is asked for below takes as long as the paragraph is
    paragraph = paragraph.lower()
    return begin if _holds(paragraph, _SECRET) and _holds(paragraph, _RECIPIENT) else None
