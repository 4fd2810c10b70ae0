"""Who wrote a message that somebody passed on: the sender in the forwarded header block or attached message.

Only a message that is a forward is read: its subject says so, or a client's
separator. An answer quotes header blocks as well (Outlook), and an attached
message may be a customer's own proof; there the sender is who he is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ingestd.mail.addresses import parse_addresses
from ingestd.mail.attribution import is_forward_separator, is_no_separator, is_original_separator, separators
from ingestd.mail.encoding import decode_part
from ingestd.mail.limits import Limits
from ingestd.mail.mime import Part, read_fields
from ingestd.mail.new_text import is_forward_subject
from ingestd.mail.types import Address

_LINES_MAX = 400
_TEXT_CHARS_MAX = 64 * 1024
_BLOCK_LINES_MAX = 14
_VALUE_CHARS_MAX = 500
_EMPTY = " \t\r>*_|\u00a0"
_ATTACHED_BYTES_MAX = 64 * 1024

_ANSWER = re.compile(
    r"^\s*(?:re|aw|antw|antwort|sv|odp|ynt|rif|res|r|vá|отв|відп|回复|答复|回覆|返信|답장|회신)(?:\s*\[\d{1,3}\])?\s*[:：]",
    re.IGNORECASE,
)
# Beside those that `attribution` knows: Notes, Yandex, QQ and 163, Zoho, Proton, and others in their languages.
_SEPARATOR = re.compile(
    r"^[\s>]*[-_=*~–—]{2,}\s*(?:"
    r"(?:begin |start of |original |inline )?(?:forwarded|fwd) (?:message|mail|e-?mail|by\b.{0,100})"
    r"|weitergeleitete?[rsn]? (?:nachricht|mail|e-?mail)|weitergeleitet von.{0,100}"
    r"|(?:début du )?message (?:transféré|réexpédié|transmis)|transféré par.{0,100}"
    r"|mensaje reenviado|reenviado por.{0,100}|mensagem (?:encaminhada|reencaminhada|original)|encaminhado por.{0,100}"
    r"|messaggio inoltrato|inoltrato da.{0,100}|doorgestuurd (?:bericht|door.{0,100})"
    r"|wiadomość przekazana|przekazan[ae] (?:wiadomość|przez.{0,100})"
    r"|(?:начало )?(?:пересылаемо|пересланно|переадресованно)(?:е|го) (?:сообщени|письм)[еяоа]|переслан[оаы]? .{0,100}"
    r"|(?:початок )?пересл?ан[аеиої]{1,2} (?:повідомлення|лист[аи]?)|пересилається повідомлення"
    r"|ilet(?:ilen|ilmiş) (?:mesaj|ileti|posta)"
    r"|转发(?:的)?(?:邮件|信息|邮件信息)|轉寄(?:的)?郵件|轉寄的訊息|原始邮件|转发邮件信息"
    r"|転送(?:された)?メッセージ|転送メール|전달된 (?:메시지|메일)|전달 메일|원본 ?메일"
    r")\s*[-_=*~–—:：]{0,80}\s*$"
    r"|^[\s>]*(?:begin forwarded message|anfang der weitergeleiteten (?:nachricht|e-mail)"
    r"|début du message (?:transféré|réexpédié)|inicio del mensaje reenviado"
    r"|início da mensagem (?:encaminhada|reencaminhada)|inizio (?:del )?messaggio inoltrato"
    r"|begin doorgestuurd bericht|początek przekazywanej wiadomości"
    r"|начало пере(?:адресованного|сылаемого) (?:сообщения|письма)"
    r"|початок (?:листа, який пересилається|пересланого повідомлення)"
    r"|ilet(?:ilmiş|ilen) mesajın başlangıcı|以下是转发的邮件|開始轉寄郵件|転送されたメッセージ"
    r"|전달된 메시지(?: 시작)?)\s*[:：]?\s*$",
    re.IGNORECASE,
)
_RULE = re.compile(r"^\s*[_\-–—=*]{8,}\s*$")
_FROM = frozenset(
    """
    from|von|de|da|van|od|от|від|отправитель|відправник|от кого|kimden|gönderen|发件人|寄件者|寄件人|发信人|差出人
    |送信者|送信元|보낸 사람|보낸사람|보낸이|발신|från|fra|lähettäjä|expéditeur|remitente|remetente|mittente
    |afzender|nadawca|absender|feladó
    """.replace("\n    ", "").split("|")
)
_OTHER = frozenset(
    """
    sent|date|to|subject|cc|reply-to|sent on|gesendet|gesendet am|datum|an|betreff|antwort an|kopie|envoyé|envoyé le
    |le|à|objet|sujet|répondre à|enviado|enviado el|enviado em|enviada em|enviado a|fecha|para|asunto|assunto|data
    |inviato|data invio|oggetto|a|rispondi a|verzonden|aan|onderwerp|wysłano|wysłane|do|temat|отправлено|дата
    |дата отправки|кому|тема|копия|надіслано|дата надсилання|до|копія|gönderildi|gönderme tarihi|tarih|kime|konu
    |bilgi|发送时间|发送日期|日期|时间|收件人|抄送|主题|寄件日期|傳送時間|收件者|副本|主旨|送信日時|日時|日付|宛先
    |件名|보낸 날짜|보낸날짜|날짜|받는 사람|받는사람|받는이|수신|참조|제목|skickat|till|ämne|sendt|til|emne|dato
    |lähetetty|vastaanottaja|aihe
    """.replace("\n    ", "").split("|")
)
_LABEL = re.compile(r"^[\s>*_|]*([^\s:：>*_|][^:：]{0,28}?)[\s*_]*[:：][\s*_]*(.*)$")
_LINK = re.compile(r"[<\[(]?\s*mailto:([^\s<>\[\]()]{3,254})\s*[>\])]?", re.IGNORECASE)
_REPEATED = re.compile(r"([^\s<>\[\]();,\"]{1,64}@[^\s<>\[\]();,\"]{1,190})\s*<\s*\1\s*>", re.IGNORECASE)
# Yandex writes no labels: `02.03.2026, 10:00, "Jane" <jane@example.com>:`
_UNLABELLED = re.compile(
    r"^[\s>]*\d{1,4}[./\-年].{0,120}?(\"?[^\",<>]{0,100}\"?\s*<[^\s<>]{1,64}@[^\s<>]{1,190}>)\s*:?\s*$"
)


def forwarded_from(raw: bytes, parts: Sequence[Part], subject: str, text: str, limits: Limits) -> Address | None:
    """Return the original sender of a forwarded message; None where the message is none, or does not tell an address.

    `raw`: the bytes that the parts' offsets count in; `text`: the message's plain text.
    """
    if _ANSWER.match(subject) is not None:
        return None
    forward = is_forward_subject(subject)
    found = _in_text(text[:_TEXT_CHARS_MAX], forward)
    if found is not None:
        return found
    attached = [part for part in parts[1:] if part.content_type in ("message/rfc822", "message/global")]
    if attached and (forward or (len(attached) == 1 and not text.strip())):
        return _sender_of(raw, attached[0], limits)
    return None


def _in_text(text: str, forward: bool) -> Address | None:
    lines = text.split("\n", _LINES_MAX)[:_LINES_MAX]
    for index in range(len(lines)) if forward else separators(lines):
        line = lines[index]
        if len(line) > _VALUE_CHARS_MAX or not line.strip() or (not forward and is_no_separator(line)):
            continue
        if is_forward_separator(line) or (_may_be_separator(line) and _SEPARATOR.match(line) is not None):
            if not forward and line.lstrip().startswith(">"):
                return None  # in the quoted part of an answer
            return _in_block(lines, index + 1, 1)
        if not forward:
            continue
        if is_original_separator(line) or _RULE.match(line) is not None:
            found = _in_block(lines, index + 1, 2)
            if found is not None:
                return found
        elif ":" in line[:40] or "：" in line[:40]:
            found = _in_block(lines, index, 3)
            if found is not None:
                return found
    return None


def _may_be_separator(line: str) -> bool:
    start = line.lstrip(" \t>")
    return start[:1] in "-_=*~–—" or line.rstrip().endswith((":", "：", "邮件", "郵件"))


def _in_block(lines: list[str], index: int, labels_min: int) -> Address | None:
    """Read a header block that begins within the next lines; at least so many fields make one."""
    begins = next((at for at in range(index, min(len(lines), index + 4)) if lines[at].strip(_EMPTY)), None)
    if begins is None:
        return None
    unlabelled = _UNLABELLED.match(lines[begins][:_VALUE_CHARS_MAX]) if labels_min == 1 else None
    if unlabelled is not None:
        return _address(unlabelled[1])
    sender = ""
    for labels, (is_from, value) in enumerate(_fields(lines, begins), 1):
        if is_from and not sender:
            sender = value
        if sender and labels >= labels_min:
            return _address(sender)
    return None


def _fields(lines: list[str], begins: int) -> Iterator[tuple[bool, str]]:
    """Yield the labelled lines of a block with their values; it ends at a line of text, or where it is empty twice."""
    empty = 0
    name: str | None = None
    value = ""
    for line in lines[begins : begins + _BLOCK_LINES_MAX]:
        bare = line[:_VALUE_CHARS_MAX].strip(_EMPTY)
        empty = 0 if bare else empty + 1
        label = _label(line)
        if label is not None:
            if name is not None:
                yield name in _FROM, value
            name, value = label
        elif empty > 1 or name is None:
            break
        elif bare and "@" not in value:
            value = f"{value} {bare}"  # a long or tabled value goes on in the next line
        elif bare:
            break
    if name is not None:
        yield name in _FROM, value


def _label(line: str) -> tuple[str, str] | None:
    match = _LABEL.match(line[:_VALUE_CHARS_MAX])
    if match is None:
        return None
    name = " ".join(match[1].lower().split())
    return (name, match[2].strip()) if name in _FROM or name in _OTHER else None


def _address(value: str) -> Address | None:
    value = _REPEATED.sub(r"<\1>", _LINK.sub(r"<\1>", value))
    value = value.replace("<<", "<").replace(">>", ">").strip(" \t*_;,|")
    found = next((one for one in parse_addresses(value, 5) if "@" in one.addr[1:-1]), None)
    if found is None:
        return None
    return Address(found.addr, "" if found.name.lower() == found.addr.lower() else found.name.strip("\"'*_ "))


def _sender_of(raw: bytes, part: Part, limits: Limits) -> Address | None:
    encoded = raw[part.start : min(part.end, part.start + _ATTACHED_BYTES_MAX)]
    data = decode_part(encoded, part.encoding)
    fields, _ = read_fields(data, 0, len(data), limits, {}, top=True)
    for name in ("from", "sender"):
        for value in [value for key, value in fields if key == name][:1]:
            found = next(iter(parse_addresses(value, 1)), None)
            if found is not None and "@" in found.addr:
                return found
    return None
