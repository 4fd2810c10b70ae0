"""The texts of `reply_texts/`: replies as clients make them, all written by us. Invisible characters are meant."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).with_name("reply_texts")


def _sections(name: str, mark: str) -> list[tuple[str, str]]:
    """Return (title, text) of the sections that begin with lines `mark title`."""
    found: list[tuple[str, str]] = []
    for line in (_FOLDER / name).read_text(encoding="utf-8").split("\n"):
        if line.startswith(mark):
            found.append((line.removeprefix(mark).strip(), ""))
        elif found:
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return [(title, text.removesuffix("\n")) for title, text in found]


def _introductions() -> dict[str, list[tuple[str, bool, str]]]:
    languages = _sections("introductions.txt", "== ")
    return {
        language: [
            (client.removesuffix(" >"), client.endswith(" >"), "\n".join(lines))
            for client, *lines in (form.strip("\n").split("\n") for form in f"\n{text}".split("\n= ")[1:])
        ]
        for language, text in languages
    }


INTRODUCTIONS = _introductions()
"""Language → (client, whether it marks history with ">", what it writes above the history)."""
KEPT = dict(_sections("kept.txt", "=== "))
"""What is wrong → a text of which nothing may be cut."""
_CUT = _sections("cut.txt", "=== ")
CUT = {title: (text, new) for (title, text), (_, new) in zip(_CUT[::2], _CUT[1::2], strict=True)}
"""What is wrong → a text, and what is new in it."""
SIGNATURES = [text for _, text in _sections("signatures.txt", "===")]
ANSWERS = {
    "en": "It works now, thanks.",
    "ru": "Теперь работает, спасибо.",
    "uk": "Тепер працює, дякую.",
    "de": "Jetzt geht es, danke.",
    "fr": "Ça marche, merci.",
    "es": "Ya funciona, gracias.",
    "pt": "Agora funciona, obrigada.",
    "it": "Ora funziona, grazie.",
    "pl": "Już działa, dziękuję.",
    "nl": "Het werkt nu, bedankt.",
    "tr": "Şimdi çalışıyor, teşekkürler.",
    "zh-cn": "现在可以了，谢谢。",
    "zh-tw": "現在可以了，謝謝。",
    "ja": "動きました。ありがとうございます。",
    "ko": "이제 됩니다. 감사합니다.",
    "others": "Nu fungerar det, tack.",
}
"""A customer's answer in each language."""
