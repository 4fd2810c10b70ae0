"""The lines by which clients introduce what they quote, in the languages of our customers.

Every pattern is bounded and is tried on short strings only, so that no text
makes it slow; cheap tests come first, as most lines are ordinary text.
"""

from __future__ import annotations

import re

LINE_CHARS_MAX = 600

# "On …, X wrote:" — the verb stands at the end, a date or an address before it.
_VERB = re.compile(
    r"(?:\bwrote|\bwrites|\bsaid|\bschrieb|\bgeschrieben|\ba écrit|\bécrit|\bescribió|\bescribio|\bescreveu|"
    r"\bha scritto"
    r"|\bschreef|\bgeschreven|\bpisze|\bnapisał(?:\(a\)|a|/a|\(-a\))?|\bnapísal(?:\(a\))?|\bnapsal(?:\(a\)|a)?"
    r"|\bпише(?:т)?|\bписал(?:\(а\)|а)?|\bнаписал(?:\(а\)|а|\(-а\))?|\bнаписав(?:\(ла\)|/ла|ла)?|\bнаписала"
    r"|\byazdı|\bşunu yazdı|\bskrev|\bkirjoitti|\ba scris|\bnapisao(?: je)?|\bírta|\bέγραψε|\bha escrit|\bviết|"
    r"\bcsírta"
    r"|写道|寫道|作者|来信|のメール|が書きました|wrote|님이 작성|작성|작성했습니다|씀)"
    r"(?:[^\n:：]{0,160})[:：]?\s*$",
    re.IGNORECASE,
)
_START = re.compile(
    r"^\s*(?:on|am|an|le|el|em|il|in data|op|w dniu|dnia|dne|den|på|pe|στις|vào|kl|a|at|"
    r"в|во|от|у|\d{1,4}[./\-年 ]|(?:пн|вт|ср|чт|пт|сб|вс|mon|tue|wed|thu|fri|sat|sun|понедельник|вторник|среда|"
    r"четверг|пятница|суббота|воскресенье|lun|mar|mié|mer|jeu|ven|sam|dim)\b|在|于|從|20\d\d)",
    re.IGNORECASE,
)
_EVIDENCE = re.compile(r"\d{1,4}[./:\-年월 ]\s?\d{0,2}|\S@\S|<[^>]*>")
_ENDS = (":", "：", "wrote", "道", ">")

_ORIGINAL = re.compile(
    r"^[>\s]*[-_=*]{2,}\s*(?:original message|original appointment|reply message|original-nachricht|"
    r"ursprüngliche nachricht|"
    r"ursprungliche nachricht|message d'origine|message original|mensaje original|mensagem original|"
    r"messaggio originale|"
    r"oorspronkelijk bericht|oryginalna wiadomość|wiadomość oryginalna|исходное сообщение|исходное письмо|"
    r"оригинальное сообщение|вихідне повідомлення|початкове повідомлення|orijinal ileti|orijinal mesaj|özgün ileti|"
    r"原始邮件|原始郵件|原邮件|邮件原件|元のメッセージ|オリジナルメッセージ|원본 메시지|원본 메일|"
    r"opprinnelig melding|ursprungligt meddelande|"
    r"oprindelig meddelelse|původní zpráva|alkuperäinen viesti)\s*[-_=*]{2,}\s*$",
    re.IGNORECASE,
)
_FORWARD = re.compile(
    r"^\s*(?:[-_=*]{2,}\s*(?:forwarded message|forwarded by .{0,80}|weitergeleitete nachricht|message transféré|"
    r"message transmis|"
    r"mensaje reenviado|mensagem encaminhada|mensagem reencaminhada|messaggio inoltrato|doorgestuurd bericht|"
    r"przekazana wiadomość|wiadomość przekazana|пересылаемое сообщение|пересланное сообщение|переслане повідомлення|"
    r"пересилається повідомлення|iletilen mesaj|iletilmiş mesaj|转发的邮件|轉寄的郵件|転送メッセージ|"
    r"전달된 메시지|전달된 메일)\s*[-_=*]{0,60}"
    r"|(?:begin forwarded message|anfang der weitergeleiteten nachricht|début du message (?:transféré|réexpédié)|"
    r"inicio del mensaje reenviado|início da mensagem (?:encaminhada|reencaminhada)|inizio messaggio inoltrato|"
    r"begin doorgestuurd bericht|początek przekazywanej wiadomości|начало переадресованного сообщения|"
    r"начало пересылаемого сообщения|початок листа, який пересилається|iletilmiş mesajın başlangıcı|以下是转发的邮件|"
    r"転送されたメッセージ|전달된 메시지 시작))\s*[:：]?\s*$",
    re.IGNORECASE,
)
_FIELD_FROM = (
    r"from|von|de|da|van|od|от|від|kimden|gönderen|发件人|"
    r"寄件者|寄件人|差出人|送信者|보낸 사람|från|fra|lähettäjä|expéditeur"
)
_FIELD_OTHER = (
    r"sent|date|to|subject|cc|reply-to|gesendet|datum|an|betreff|envoyé(?: le)?|à|objet|enviado(?: el| em| a)?|"
    r"fecha|para|"
    r"asunto|data|assunto|inviato|oggetto|a|verzonden|aan|onderwerp|wysłano|data|do|temat|отправлено|дата|кому|"
    r"тема|копия|"
    r"надіслано|до|gönderildi|gönderme tarihi|tarih|kime|konu|发送时间|日期|收件人|抄送|主题|寄件日期|收件者|"
    r"主旨|送信日時|日時|宛先|件名|"
    r"보낸 날짜|날짜|받는 사람|제목|copie à|sujet|message du|skickat|till|ämne|sendt|til|emne|lähetetty|"
    r"vastaanottaja|aihe"
)
_FROM = re.compile(rf"^[>\s*_]*(?:{_FIELD_FROM})[\s*_]*[:：][\s*_]*\S", re.IGNORECASE)
_OTHER = re.compile(rf"^[>\s*_]*(?:{_FIELD_OTHER}|{_FIELD_FROM})[\s*_]*[:：]", re.IGNORECASE)
_DEVICE = re.compile(
    r"^\s*(?:sent from (?:my|mail for|outlook|yahoo|proton|samsung|a |the )\b.{0,80}|sent via .{0,60}|"
    r"get outlook for .{0,60}|"
    r"von meinem .{0,40} gesendet\.?|gesendet (?:von|mit) (?:meinem |der |mail |outlook ).{0,60}|"
    r"envoyé (?:de(?:puis)?|à partir de) (?:mon|ma|outlook).{0,60}|enviado desde mi .{0,60}|enviado (?:do|"
    r"pelo) meu .{0,60}|"
    r"inviato da(?:l mio)? .{0,60}|verzonden vanaf mijn .{0,60}|verstuurd vanaf mijn .{0,60}|wysłan[eo] z .{0,60}|"
    r"отправлено (?:с|из) .{0,60}|надіслано з .{0,60}|.{0,20}ımdan gönderildi|从我的.{0,30}发送|发自我的.{0,30}|"
    r"iPhoneから送信|나의 .{0,30}에서 보냄)\s*$",
    re.IGNORECASE,
)


def is_attribution(text: str) -> bool:
    """Tell whether `text` (one to three joined lines) introduces a quotation.

    >>> is_attribution("On Mon, 2 Mar 2026 at 10:00, Jane <jane@example.com> wrote:")
    True
    >>> is_attribution("My colleague wrote: it does not work")
    False
    """
    if len(text) > LINE_CHARS_MAX or not text.rstrip().endswith(_ENDS):
        return False
    if _VERB.search(text) is None or _EVIDENCE.search(text) is None:
        # Yandex and Mail.ru: `02.03.2026, 10:00, "Jane" <jane@example.com>:` has no verb.
        return _is_bare(text)
    return True


_ADDRESS_OR_TIME = re.compile(r"<\S{1,200}@|\d\d:\d\d")
_BARE = re.compile(
    r"^\s*(?:\S{1,12},?\s)?\s*\d{1,4}[./\- ]\S{1,9}[./\- ]\s?\d{2,4}.{0,60}<?[^\s<>@]{1,64}@[^\s<>@]{1,190}>?\s*:\s*$|"
    r"^\s*\d{4}年.{0,80}<[^\s<>]{3,250}>\s*:\s*$|^\s*\d{4}-\d\d-\d\d"
    r" \d\d?:\d\d .{0,120}<[^\s<>]{3,250}>\s*:\s*$"
)


def _is_bare(text: str) -> bool:
    return _BARE.match(text) is not None


def may_begin_attribution(line: str) -> bool:
    """Tell whether a wrapped attribution may begin here; cheap, and may be wrong."""
    return len(line) <= LINE_CHARS_MAX and (_START.match(line) is not None or _ADDRESS_OR_TIME.search(line) is not None)


def is_original_separator(line: str) -> bool:
    """`-----Original Message-----` and its translations."""
    return len(line) <= 120 and _ORIGINAL.match(line) is not None


def is_forward_separator(line: str) -> bool:
    """What a client writes above a message that is forwarded on purpose."""
    return len(line) <= 120 and _FORWARD.match(line) is not None


def is_from_field(line: str) -> bool:
    """The first line of Outlook's header block."""
    return len(line) <= LINE_CHARS_MAX and _FROM.match(line) is not None


def is_other_field(line: str) -> bool:
    return _OTHER.match(line[:LINE_CHARS_MAX]) is not None


def is_device_line(line: str) -> bool:
    """`Sent from my iPhone` and its like."""
    return len(line) <= 120 and _DEVICE.match(line) is not None
