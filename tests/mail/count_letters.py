"""Makes `ingestd/mail/letters.py`: how often one letter follows another, counted over word lists.

    python -m tests.mail.count_letters FOLDER > ingestd/mail/letters.py

FOLDER holds a file `LANGUAGE.tsv` for each language below, and for zh, zh-hant, ja and ko: lines of a word, a tab
and the word's share. The lists were those of wordfreq 3.1 (its small ones) and, for Thai, Belarusian and Estonian,
Django's translations; Serbian was the Latin list written in Cyrillic. Only counts are kept of them.
"""

from __future__ import annotations

import itertools
import math
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

NOT_LATIN = ("ru", "uk", "bg", "sr", "mk", "be", "el", "he", "ar", "fa", "th")
LATIN = ("tr", "pl", "cs", "sk", "hu", "ro", "hr", "lt", "lv", "et")
WESTERN = ("de", "fr", "es", "pt", "it", "nl", "sv", "da", "fi", "is")
# Letters too rare to be kept for their share, and yet the language's own.
RARE = {"uk": "ґ", "sr": "џ", "fr": "œëïü", "es": "ü", "de": "ß", "pt": "ü", "it": "î", "nl": "ïöüè", "tr": "îû"}
RARE |= {"sv": "é", "da": "é", "el": "ΐΰϋ", "cs": "ó"}
SHARE_MIN = 1.5e-4
# A pair whose second letter follows the first with this probability costs so many bits; what is rarer is left out.
LEVELS = ((0.30, 1), (0.12, 2), (0.05, 4), (0.02, 5), (0.008, 6), (0.003, 8), (0.001, 9))
LINE_CHARS = 106


def words(folder: Path, language: str) -> Iterator[tuple[str, float]]:
    for line in (folder / f"{language}.tsv").read_text(encoding="utf-8").splitlines():
        word, _, share = line.partition("\t")
        word = unicodedata.normalize("NFC", word).lower().replace("i\u0307", "i")
        if language == "ro":  # no 8-bit charset has the letters with a comma below
            word = word.replace("ș", "ş").replace("ț", "ţ")
        if word.isalpha() or language == "th":
            yield word, float(share) + 1e-6


def pairs(folder: Path, language: str) -> dict[int, list[str]]:
    """Return the pairs of letters of each level; a space is the edge of a word, pairs of ASCII are left out."""
    follows, share = defaultdict[str, float](float), defaultdict[str, float](float)
    for word, weight in words(folder, language):
        edged = f" {word} "
        for first, second in itertools.pairwise(edged):
            follows[first + second] += weight
            share[second] += weight
    least = SHARE_MIN * math.fsum(share.values())
    letters = {letter for letter, weight in share.items() if weight >= least} | set(RARE.get(language, "")) | {" "}
    if language in NOT_LATIN:
        letters = {letter for letter in letters if not letter.isascii() or letter == " "}
    first_total = defaultdict[str, float](float)
    for pair, weight in follows.items():
        if letters.issuperset(pair):
            first_total[pair[0]] += weight
    found: dict[int, list[str]] = {bits: [] for _, bits in LEVELS}
    for pair, weight in sorted(follows.items()):
        if letters.issuperset(pair) and not pair.isascii():
            level = next((bits for least, bits in LEVELS if weight >= least * first_total[pair[0]]), None)
            if level is not None:
                found[level].append(pair)
    return found


def frequent(folder: Path, language: str, first: str, last: str, count: int) -> list[str]:
    seen = defaultdict[str, float](float)
    for word, weight in words(folder, language):
        for char in word:
            if first <= char <= last:
                seen[char] += weight
    return sorted(seen, key=lambda char: -seen[char])[:count]


def literal(text: str) -> str:
    lines = [text[at : at + LINE_CHARS] for at in range(0, len(text), LINE_CHARS)]
    return "(\n" + "\n".join(f'        "{line}"' for line in lines) + "\n    )" if len(lines) > 1 else f'"{text}"'


LEGEND = "Language → a digit, the bits that each of the pairs costs that follow it one after another; and so on."

HEAD = '''"""Which letters follow which, and which ideographs are frequent: what `guess` knows of languages.

Made by `tests/mail/count_letters.py`; not to be edited. A space is the edge of a word.
"""

from __future__ import annotations

'''


def main(folder: Path) -> None:
    print(HEAD, end="")
    print("PAIRS = {")
    for language in (*NOT_LATIN, *LATIN, *WESTERN):
        levels = pairs(folder, language).items()
        text = "".join(f"{bits}" + "".join(found) for bits, found in levels if found)
        print(f'    "{language}": {literal(text)},')
    print(f'}}\n"""{LEGEND}"""\n')
    han = dict.fromkeys(frequent(folder, "zh", "一", "龥", 450) + frequent(folder, "zh-hant", "一", "龥", 490))
    han |= dict.fromkeys(frequent(folder, "ja", "一", "龥", 250))
    print("FREQUENT = {")
    print(f'    "han": {literal("".join(han))},')
    print(f'    "hangul": {literal("".join(frequent(folder, "ko", "가", "힣", 220)))},')
    print('}\n"""The ideographs of Chinese and Japanese, the syllables of Korean."""')


if __name__ == "__main__":
    main(Path(sys.argv[1]))
