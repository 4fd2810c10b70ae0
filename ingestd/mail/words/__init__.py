"""What clients write around the history that they quote, a language at a time.

As Gmail, Outlook, Apple Mail, Thunderbird, Yahoo, Yandex, Mail.ru and others are
known to write it, proved by the mails that the tests have. Entries are parted by "|".
`wrote`, `device` and `below` are regular expressions (each of `wrote` begins
with a letter, so that it is found quickly), all others plain words in lower
case. How they are put together says `attribution`.
"""

from __future__ import annotations

from ingestd.mail.words.east import CHINESE, JAPANESE, KOREAN, OTHERS, POLISH, RUSSIAN, TURKISH, UKRAINIAN
from ingestd.mail.words.language import Words
from ingestd.mail.words.west import DUTCH, ENGLISH, FRENCH, GERMAN, ITALIAN, PORTUGUESE, SPANISH

__all__ = ["LANGUAGES", "Words"]

LANGUAGES = (
    *(ENGLISH, RUSSIAN, UKRAINIAN, GERMAN, FRENCH, SPANISH, PORTUGUESE, ITALIAN, POLISH, DUTCH, TURKISH),
    *(CHINESE, JAPANESE, KOREAN, OTHERS),
)
"""Where two languages use a word differently, the first counts."""
