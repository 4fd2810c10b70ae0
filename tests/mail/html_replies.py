"""Replies in HTML as clients make them, all written by us, from an answer and what stands above the history."""

from __future__ import annotations

JANE = "Jane Doe &lt;<a href='mailto:jane@example.com'>jane@example.com</a>&gt;"
OLD = "<div>Does it work?</div><div><br></div><div>Jane</div>"
SENT = {
    "en": ("From", "Sent", "To", "Subject"),
    "ru": ("От", "Отправлено", "Кому", "Тема"),
    "uk": ("Від", "Надіслано", "Кому", "Тема"),
    "de": ("Von", "Gesendet", "An", "Betreff"),
    "fr": ("De", "Envoyé", "À", "Objet"),
    "es": ("De", "Enviado", "Para", "Asunto"),
    "pt": ("De", "Enviado", "Para", "Assunto"),
    "it": ("Da", "Inviato", "A", "Oggetto"),
    "pl": ("Od", "Wysłano", "Do", "Temat"),
    "nl": ("Van", "Verzonden", "Aan", "Onderwerp"),
    "tr": ("Kimden", "Gönderildi", "Kime", "Konu"),
    "zh-cn": ("发件人", "发送时间", "收件人", "主题"),
    "zh-tw": ("寄件者", "寄件日期", "收件者", "主旨"),
    "ja": ("差出人", "送信日時", "宛先", "件名"),
    "ko": ("보낸 사람", "보낸 날짜", "받는 사람", "제목"),
}


def gmail(answer: str, intro: str) -> str:
    return (
        f'<div dir="ltr">{answer}</div><br><div class="gmail_quote gmail_quote_container"><div dir="ltr" '
        f'class="gmail_attr">{intro}<br></div><blockquote class="gmail_quote" style="margin:0px 0px 0px 0.8ex">'
        f"{OLD}</blockquote></div>"
    )


def older_gmail(answer: str, intro: str) -> str:
    return (
        f'<div dir="ltr">{answer}</div><div class="gmail_extra"><br><div class="gmail_quote">{intro}<br>'
        f'<blockquote class="gmail_quote">{OLD}</blockquote></div><br></div>'
    )


def apple(answer: str, intro: str) -> str:
    return (
        f'<html><body style="word-wrap:break-word">{answer}<br><div><br><blockquote type="cite"><div>{intro}</div>'
        f'<br class="Apple-interchange-newline"><div>{OLD}</div></blockquote></div><br></body></html>'
    )


def older_apple(answer: str, intro: str) -> str:
    return (
        f"<html><body><div>{answer}</div><br><div><div>{intro}</div><br class='Apple-interchange-newline'>"
        f'<blockquote type="cite">{OLD}</blockquote></div></body></html>'
    )


def thunderbird(answer: str, intro: str) -> str:
    return (
        f'<body><p>{answer}</p><div class="moz-cite-prefix">{intro}<br></div><blockquote type="cite" '
        f'cite="mid:a@example.com">{OLD}</blockquote></body>'
    )


def yahoo(answer: str, intro: str) -> str:
    return (
        f"<html><body><div class='ydp1 yahoo-style-wrap'><div>{answer}</div><div><br></div></div>"
        f'<div id="yahoo_quoted_1" class="yahoo_quoted"><div><div>{intro}</div><div><br></div><div>{OLD}</div></div>'
        "</div></body></html>"
    )


def yandex(answer: str, intro: str) -> str:
    return f"<div>{answer}</div><div> </div><div>{intro}</div><blockquote><div>{OLD}</div></blockquote>"


def mail_ru(answer: str, intro: str) -> str:
    return (
        f"<html><body><p>{answer}</p><br><blockquote style='border-left:1px solid #0857A6;margin:10px'>{intro}<br>"
        f"<br><div>{OLD}</div></blockquote></body></html>"
    )


def protonmail(answer: str, intro: str) -> str:
    return (
        f'<div>{answer}</div><div class="protonmail_signature_block"></div><div class="protonmail_quote">{intro}<br>'
        f'<blockquote class="protonmail_quote" type="cite">{OLD}</blockquote><br></div>'
    )


def fastmail(answer: str, intro: str) -> str:
    return f'<div>{answer}<br></div><div>{intro}<br></div><blockquote type="cite" id="qt">{OLD}</blockquote>'


def zoho(answer: str, intro: str) -> str:
    return (
        f'<div>{answer}</div><br><div class="zmail_extra_hr"></div><br><div class="zmail_extra"><div>{intro}</div>'
        f"<blockquote>{OLD}</blockquote></div>"
    )


def roundcube(answer: str, intro: str) -> str:
    return f'<p>{answer}</p><p id="reply-intro">{intro}</p><blockquote type="cite">{OLD}</blockquote>'


def block(language: str) -> str:
    sender, sent, to, subject = SENT[language]
    return (
        f"<b>{sender}:</b> {JANE}<br><b>{sent}:</b> 2026-03-02 10:00<br><b>{to}:</b> Support<br><b>{subject}:</b> Help"
    )


def outlook_web(answer: str, language: str) -> str:
    return (
        f'<div class="elementToProof">{answer}</div><div id="appendonsend"></div><hr tabindex="-1">'
        f'<div id="divRplyFwdMsg" dir="ltr"><font face="Calibri">{block(language)}</font><div>&nbsp;</div></div>'
        f"<div>{OLD}</div>"
    )


def outlook_mobile(answer: str, language: str) -> str:
    return (
        f'<div dir="ltr">{answer}</div><div id="ms-outlook-mobile-signature"></div>'
        f'<div id="mail-editor-reference-message-container" class="ms-outlook-mobile-reference-message skipProofing">'
        f'<hr><div dir="ltr"><b>{block(language)}</b></div><div>{OLD}</div></div>'
    )


def outlook_desktop(answer: str, language: str) -> str:
    return (
        f'<div class="WordSection1"><p class="MsoNormal">{answer}<o:p></o:p></p><p><o:p>&nbsp;</o:p></p>'
        '<div><div style="border:none;border-top:solid #E1E1E1 1.0pt;padding:3.0pt 0cm 0cm 0cm">'
        f'<p class="MsoNormal">{block(language)}<o:p></o:p></p></div></div><p class="MsoNormal">{OLD}</p></div>'
    )


def outlook_mac(answer: str, language: str) -> str:
    return (
        f'<body><div>{answer}</div><div><br></div><span id="OLK_SRC_BODY_SECTION"><div style="text-align:left">'
        f"{block(language)}</div><div><br></div><div>{OLD}</div></span></body>"
    )


def samsung(answer: str, language: str) -> str:
    return (
        f"<body><div dir='auto'>{answer}</div><div><br></div><div id='composer_signature'></div><div><br></div>"
        f"<div><!-- originalMessage --><div>-------- Original message --------</div><div>{block(language)}</div>"
        f"<div><br></div></div>{OLD}</body>"
    )


def gmx(answer: str, language: str) -> str:
    sender, sent, to, subject = SENT[language]
    return (
        f'<div><div>{answer}</div><div>&nbsp;<div name="quote" style="margin:10px 5px"><div><b>{sent}:</b>&nbsp;'
        f"2026-03-02 um 10:00 Uhr<br><b>{sender}:</b>&nbsp;{JANE}<br><b>{to}:</b>&nbsp;support@example.com<br>"
        f'<b>{subject}:</b>&nbsp;Help</div><div name="quoted-content">{OLD}</div></div></div></div>'
    )


def tables(answer: str, language: str) -> str:
    sender, sent, to, subject = SENT[language]
    rows = ((sender, JANE), (sent, "2026-03-02 10:00"), (to, "Support"), (subject, "Help"))
    cells = "".join(f"<tr><td><b>{label}:</b></td><td>{value}</td></tr>" for label, value in rows)
    return f"<div>{answer}</div><table>{cells}</table>{OLD}"
