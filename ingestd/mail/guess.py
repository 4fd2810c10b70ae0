"""Says which charset bytes were written in: the one in which they are the likeliest text.

Every candidate is a *reading*. Its cost in bits is how unlikely its letters
follow each other in the best of the charset's languages (`letters`), plus what
no one writes: capitals inside words, symbols between letters, controls. Costs of
readings of the same bytes can be compared, also across scripts, and a label is
just a candidate that starts ahead.

Written by hand, because detectors answer "which charset?", and mail asks "is the
label a lie?": that needs the cost of the labelled reading. Of those measured on
the texts of the tests, only chardet 7 guesses as well from 20 bytes, at ten times
the time. Only a bounded sample of the bytes around 8-bit text is looked at.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from ingestd.mail.letters import FREQUENT, PAIRS

_WESTERN = ("de", "fr", "es", "pt", "it", "nl", "sv", "da", "fi", "is")
_CENTRAL = ("pl", "cs", "sk", "hu", "ro", "hr")
_BALTIC = ("lt", "lv", "et")
_CYRILLIC = ("ru", "uk", "bg", "sr", "mk", "be")
# Python's codec → bits that it costs to be met, and its languages. The order breaks ties.
_SINGLE: dict[str, tuple[int, tuple[str, ...]]] = {
    "cp1252": (0, _WESTERN),
    "cp1251": (1, _CYRILLIC),
    "koi8-r": (3, ("ru", "bg")),
    "koi8-u": (4, ("uk", "ru")),
    "cp1250": (1, _CENTRAL),
    "iso8859-2": (2, _CENTRAL),
    "cp1254": (2, ("tr",)),
    "cp1253": (2, ("el",)),
    "iso8859-7": (3, ("el",)),
    "cp1255": (2, ("he",)),
    "cp1256": (2, ("ar", "fa")),
    "iso8859-6": (5, ("ar",)),
    "cp874": (2, ("th",)),
    "cp1257": (3, _BALTIC),
    "cp866": (6, ("ru", "bg", "be")),
    "iso8859-5": (6, ("ru", "bg", "sr", "mk", "be")),
    "mac-cyrillic": (6, ("ru", "uk", "bg")),
    "mac-roman": (9, _WESTERN),
    "cp850": (10, _WESTERN),
}
# Believed where a label says so and the text agrees; nobody sends them without a label.
_LABELLED: dict[str, tuple[int, tuple[str, ...]]] = {
    "iso8859-15": (0, _WESTERN),
    "cp437": (0, _WESTERN),
    "cp852": (0, _CENTRAL),
    "mac-latin2": (0, _CENTRAL),
    "iso8859-13": (0, _BALTIC),
    "iso8859-4": (0, _BALTIC),
    "cp855": (0, _CYRILLIC),
}
_RARE = {"is": 5, "et": 2, "be": 3, "mk": 3, "fa": 1}
"""Bits that a language costs to be met, in charsets that have more frequent ones."""
_MULTI: dict[str, int] = {"gb18030": 4, "cp949": 2, "cp932": 2, "big5hkscs": 2, "euc_jp": 4}
_NO_LATIN = frozenset(PAIRS) - {*_WESTERN, *_CENTRAL, *_BALTIC, "tr"}

_CHUNK_BYTES = 4096
_WINDOW_BYTES = 96
_SAMPLE_BYTES = 480
_WINDOWS_MAX = 40
_AHEAD = 14
_GLANCE_BYTES = 64
_REMEMBERED_MAX = 8192
"""Pairs of bytes, of one charset and language; more are random bytes."""
_PLAIN, _PLAIN_WIDE = 6, 12
"""Bits a character of plain text of a known language, at most: in single-byte charsets, and in the others."""
_SURVIVORS_MAX = 8
_SURVIVOR_BITS = 60
"""How much worse than the best a charset may look at first glance to be read closely."""

_FIRST_BYTES = 256
_FINALISTS = 3
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")
_ASCII = bytes(range(128))
_NO_LEADS = bytes(byte for byte in range(256) if not 0x81 <= byte <= 0x9F)
_APART = re.compile(rb"[\x00-\x2f\x3a-\x3f]")
"""What is no byte of any double-byte character."""

# Kinds of characters, as letters of the bytes that `bytes.translate` makes.
_SPACE, _LOWER, _UPPER, _NATIVE, _CAPITAL = b" aAlL"  # what parts words; ASCII letters; other letters
_OPENS, _CLOSES, _STANDS, _ODD, _NONE, _MARK = b"octsxm"
_OPENING = frozenset("«„“‘‚‹¿¡")
_CLOSING = frozenset("»”’›…™®°·ªº")
_STANDING = frozenset("–—•№§©€£\xa0±×÷½¼¾²³µ")
_LETTERS = frozenset((_LOWER, _UPPER, _NATIVE, _CAPITAL))
_UNSEEN = 13
"""Bits for letters of one script that do not follow each other in the language."""
_BROKEN = 40
"""Bits for bytes that are no character of a double-byte charset."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a sample; `bits` is its cost in all, `units` the number of characters that were rated."""

    charset: str
    bits: int
    units: int
    language: str = ""
    """In which it is so likely, where the charset has several."""

    @property
    def mean(self) -> float:
        """Bits a character."""
        return self.bits / max(self.units, 1)


def sample(data: bytes, bytes_max: int = _SAMPLE_BYTES) -> list[bytes]:
    """Return stretches of `data` that hold its 8-bit text, each begun one byte before it; bounded, linear.

    A stretch begins after a byte that is no part of a double-byte character, so that none is cut in two there.
    """
    out: list[bytes] = []
    room, position = bytes_max, 0
    while room > 0 and len(out) < _WINDOWS_MAX and (start := first_high(data, position)) >= 0:
        end = start + min(_WINDOW_BYTES, room)
        near = _APART.search(data, end, end + _WINDOW_BYTES)
        end = near.start() if near else end
        out.append(data[max(start - 1, 0) : end])
        room -= end - start
        far = near or _APART.search(data, end, end + _CHUNK_BYTES)
        position = far.end() if far else end + _CHUNK_BYTES
    return out


def first_high(data: bytes, position: int = 0) -> int:
    """Return where the first 8-bit byte stands, -1 where there is none."""
    # Decoding finds the first 8-bit byte ten times as fast as a pattern does.
    while position < len(data):
        chunk = data[position : position + _CHUNK_BYTES]
        if not chunk.isascii():
            try:
                chunk.decode("ascii")
            except UnicodeDecodeError as error:
                return position + error.start
        position += _CHUNK_BYTES
    return -1


def rate(stretches: list[bytes], codec: str) -> Reading | None:
    """Return the cost of a sample in one charset, None where the charset is unknown here."""
    if codec in _MULTI:
        return _rate_multi(stretches, codec)
    known = _SINGLE.get(codec) or _LABELLED.get(codec)
    return _rate_single(_count_pairs(stretches), codec, *known) if known else None


def is_plausible(data: bytes, codec: str) -> bool:
    """Return whether the first words of `data` are text in `codec`, at a glance: then no other reading is looked at.

    >>> is_plausible("Привет".encode("koi8-r"), "koi8-r"), is_plausible("Привет".encode("koi8-r"), "cp1251")
    (True, False)
    """
    start = first_high(data)
    stretch = data[max(start - 1, 0) : start + _GLANCE_BYTES]
    if codec in _MULTI:
        return _rate_multi([data[start : start + _WINDOW_BYTES + 1]], codec).mean <= _PLAIN_WIDE
    _, languages = _SINGLE.get(codec) or _LABELLED[codec]
    alphabet = _alphabet(codec)
    if not alphabet.foreign:
        stretch = b" ".join(sample(data, _FIRST_BYTES))  # its letters beyond ASCII stand far apart
    kinds = stretch.translate(alphabet.kinds)
    cost = 9 * (kinds.count(b"lL") + kinds.count(b"aL")) + 14 * (kinds.count(b"s") + kinds.count(b"x"))
    cost += kinds.count(b"LL") + 2 * kinds.count(b" L")
    # A letter at an end, beside which there is nothing, is a pair that is in no language.
    cost += sum(alphabet.letters[byte] > "\x7f" for byte in (*stretch[:1], *stretch[-1:])) * (_UNSEEN - _PLAIN)
    return any(sum(map(_over_plain(codec, one).__getitem__, pairwise(stretch))) <= -cost for one in languages)


class _OverPlain(dict[tuple[int, int], int]):
    """How many bits more than plain text's a pair of bytes costs in a language; 0 for ASCII. Filled as it is asked."""

    def __init__(self, letters: str, bits: dict[str, int]) -> None:
        super().__init__()
        self._letters, self._bits = letters, bits

    def __missing__(self, pair: tuple[int, int]) -> int:
        letters = self._letters[pair[0]] + self._letters[pair[1]]
        over = 0 if letters.isascii() else self._bits.get(letters, _UNSEEN) - _PLAIN
        if len(self) < _REMEMBERED_MAX:
            self[pair] = over
        return over


@lru_cache(maxsize=64)
def _over_plain(codec: str, language: str) -> _OverPlain:
    return _OverPlain(_alphabet(codec).letters, _bits(language))


def knows(codec: str) -> bool:
    """Return whether readings in `codec` can be rated."""
    return codec in _SINGLE or codec in _MULTI or codec in _LABELLED


def likeliest(stretches: list[bytes], favoured: Iterable[str] = ()) -> Reading:
    """Return the best reading of a sample; `favoured` codecs start _AHEAD bits ahead, of equals the commoner wins.

    >>> likeliest(sample("Привет".encode("koi8-r"))).charset
    'koi8-r'
    """
    ahead = dict.fromkeys(favoured, _AHEAD)
    glance = b" ".join(stretches)[:_FIRST_BYTES]
    near = [codec for codec in dict.fromkeys([*_survivors(glance), *ahead]) if codec in _SINGLE]
    pairs = _count_pairs([glance])
    readings = [_rate_single(pairs, codec, *_SINGLE[codec]) for codec in near]
    if sum(map(len, stretches)) > _FIRST_BYTES:
        readings.sort(key=lambda one: one.bits - ahead.get(one.charset, 0))
        pairs = _count_pairs(stretches)
        readings = [
            _rate_single(pairs, one.charset, _SINGLE[one.charset][0], (one.language,)) for one in readings[:_FINALISTS]
        ]
    readings += [_rate_single(pairs, codec, *_LABELLED[codec]) for codec in ahead if codec in _LABELLED]
    runs = len(_HIGH_RUN.findall(glance))
    high = len(glance.translate(None, _ASCII))
    for codec in _MULTI:
        # Western letters stand alone between ASCII ones. So do lead bytes of katakana, but those are below 0xA0.
        possible = bool(glance.translate(None, _NO_LEADS)) if codec == "cp932" else high * 5 >= runs * 7
        if codec in ahead or (possible and _fits(stretches, codec)):
            readings.append(_rate_multi(stretches, codec))
    return min(readings, key=lambda one: one.bits - ahead.get(one.charset, 0))


def least_bits(reading: Reading, favoured: Iterable[str] = ()) -> int:
    """Return what `likeliest` costs at least where it finds another charset than that of `reading`, of the same sample.

    Each pair of letters costs a bit, and so does each charset but windows-1252 and those that only labels name.
    """
    cheap = reading.charset != "cp1252" or any(codec in _LABELLED for codec in favoured)
    return reading.units + (0 if cheap else 1)


@dataclass(frozen=True, slots=True)
class _Alphabet:
    letters: str
    """Lower-case, by byte; a space for all that parts words."""
    kinds: bytes
    foreign: bool
    """Its languages do not mix its letters with ASCII letters."""


@lru_cache(maxsize=64)
def _alphabet(codec: str) -> _Alphabet:
    letters, kinds = [], bytearray()
    for byte in range(256):
        char = bytes([byte]).decode(codec, "replace")
        kind = _kind(char)
        kinds.append(kind)
        lower = "i" if char == "İ" else char.lower()  # the only letter that becomes two
        letters.append(lower if kind in _LETTERS else " ")
    known = _SINGLE.get(codec) or _LABELLED[codec]
    return _Alphabet("".join(letters), bytes(kinds), known[1][0] in _NO_LATIN)


def _kind(char: str) -> int:
    category = unicodedata.category(char)
    if "\u05b0" <= char <= "\u05c7" or "\u064b" <= char <= "\u0652":
        return _MARK  # vowels of Hebrew and Arabic, which are seldom written
    if category[0] in "LM":
        upper = category == "Lu"
        return (_UPPER if upper else _LOWER) if char < "\x80" else (_CAPITAL if upper else _NATIVE)
    if char < "\x80":
        return _SPACE
    if char == "\ufffd" or category == "Cc":
        return _NONE
    return next((kind for kind, group in _PUNCTUATION if char in group), _ODD)


_PUNCTUATION = ((_OPENS, _OPENING), (_CLOSES, _CLOSING), (_STANDS, _STANDING))


def _survivors(glance: bytes) -> list[str]:
    """Return the single-byte charsets that are worth a close look, by what can be counted at a glance."""
    costs: dict[str, int] = {}
    for codec, (prior, _) in _SINGLE.items():
        alphabet = _alphabet(codec)
        kinds = glance.translate(alphabet.kinds)
        cost = 25 * kinds.count(b"x") + 9 * (kinds.count(b"lL") + kinds.count(b"aL")) + 8 * kinds.count(b"s")
        if alphabet.foreign:
            cost += 13 * (kinds.count(b"al") + kinds.count(b"la"))
        else:
            cost += 4 * (kinds.count(b"ll") + kinds.count(b"LL"))
        costs[codec] = cost + prior
    least = min(costs.values())
    near = [codec for codec in costs if costs[codec] <= least + _SURVIVOR_BITS]
    return sorted(near, key=lambda codec: costs[codec])[:_SURVIVORS_MAX]


def _count_pairs(stretches: list[bytes]) -> list[tuple[int, int, int]]:
    """Return the pairs of neighbours of which at least one is 8-bit, with their number."""
    joined = b" ".join(stretches) + b" "
    return [(a, b, n) for (a, b), n in Counter(pairwise(joined)).items() if a > 127 or b > 127]


def _rate_single(pairs: list[tuple[int, int, int]], codec: str, prior: int, languages: tuple[str, ...]) -> Reading:
    alphabet = _alphabet(codec)
    letters, kinds = alphabet.letters, alphabet.kinds
    fixed = prior
    rows: list[tuple[str, int, int, int]] = []
    for first, second, count in pairs:
        before, after = kinds[first], kinds[second]
        if after in b"LA":
            fixed += count * (9 if before in b"al" else 1 if before in b"LA" else 2)
        pair = letters[first] + letters[second]
        known, unknown = _COSTS[before, after]
        if known < 0:
            fixed += count * unknown
        else:
            rows.append((pair, count, known, unknown))
    found = [(_in_language(rows, _bits(language)) + _RARE.get(language, 0), language) for language in languages]
    best, language = min(found, key=lambda one: one[0])
    return Reading(codec, fixed + best, sum([count for _, _, count in pairs]), language)


def _in_language(rows: list[tuple[str, int, int, int]], bits: dict[str, int]) -> int:
    return sum(
        [
            count * (unknown if (level := bits.get(pair)) is None else level + known)
            for pair, count, known, unknown in rows
        ]
    )


def _cost(before: int, after: int) -> tuple[int, int]:
    """Return what a pair costs: to be added to the language's bits where it has them (-1: never), and else."""
    if _NONE in (before, after):
        return -1, 25 if after == _NONE else 5
    if before in _LETTERS:
        inner = {_OPENS: 13, _CLOSES: 7, _STANDS: 9, _ODD: 14, _MARK: 5 if before == _NATIVE else 13}
        return (-1, inner[after]) if after in inner else (0, _UNSEEN if after in _LETTERS else 11)
    if before == _SPACE:
        outer = {_OPENS: 9, _CLOSES: 10, _STANDS: 8, _ODD: 12, _MARK: 12}
        return (-1, outer[after]) if after in outer else (0, 11)
    if after not in _LETTERS:
        follows = {_OPENS: 11, _CLOSES: 1, _STANDS: 1, _ODD: 3, _MARK: 2}
        return -1, follows[before] if after == _SPACE else 9
    return {_OPENS: (2, 11), _CLOSES: (6, 15), _STANDS: (4, 13), _ODD: (10, 16), _MARK: (0, 5)}[before]


_KINDS = (_SPACE, _LOWER, _UPPER, _NATIVE, _CAPITAL, _OPENS, _CLOSES, _STANDS, _ODD, _NONE, _MARK)
_COSTS = {(before, after): _cost(before, after) for before in _KINDS for after in _KINDS}


@lru_cache(maxsize=64)
def _bits(language: str) -> dict[str, int]:
    """Return pair → bits; built at first use, as most mail never needs it."""
    found: dict[str, int] = {}
    level, text = 0, PAIRS[language]
    position = 0
    while position < len(text):
        if text[position].isdigit():
            level = int(text[position])
            position += 1
        else:
            found[text[position : position + 2]] = level
            position += 2
    return found


def _fits(stretches: list[bytes], codec: str) -> bool:
    """Return whether one of the first stretches is valid; one broken character is no reason against a charset."""
    for stretch in stretches[:3]:
        try:
            stretch.decode(codec)
        except UnicodeDecodeError as error:
            if len(stretch) - error.start > 1:
                continue
        return True
    return False


def _rate_multi(stretches: list[bytes], codec: str) -> Reading:
    text = " ".join(_decode_stretch(stretch, codec) for stretch in stretches)
    wide = "".join(_WIDE_RUN.findall(text))
    # Ideographs between the letters of a word: the bytes are letters too.
    bits = _MULTI[codec] + 7 * len(_TOUCHING.findall(text))
    script = _SCRIPTS.get(codec, "han")
    return Reading(codec, bits + sum(n * _wide_bits(char, script) for char, n in Counter(wide).items()), len(wide))


def _decode_stretch(stretch: bytes, codec: str) -> str:
    text = stretch.decode(codec, "replace")
    # A long stretch may cut its last character in two.
    return text.removesuffix("\ufffd") if len(stretch) > _WINDOW_BYTES else text


_WIDE_RUN = re.compile(r"[^\x00-\x7f]+")
_TOUCHING = re.compile(r"[A-Za-z](?=[^\x00-\x7f])|(?<=[^\x00-\x7f])[A-Za-z]")


@lru_cache(maxsize=4096)
def _wide_bits(char: str, script: str) -> int:
    """Return what a character of a double-byte charset costs; each of them holds the others' scripts, too."""
    if char == "\ufffd":
        return _BROKEN
    if "ぁ" <= char <= "ヿ":
        return 5 if script == "kana" else 13
    if "가" <= char <= "힣":
        return 8 if char in _HANGUL else 12 if _row(char, "euc_kr") else 22
    if "一" <= char <= "龥":
        if script == "hangul":
            return 16
        if char in _HAN:
            return 8
        return 13 if _row(char, "gb2312") < 0xD8 or _row(char, "big5") < 0xC9 or _row(char, "euc_jp") < 0xD0 else 17
    if char in "、。，！？：；「」（）～…“”《》・　":
        return 6
    return 11 if "！" <= char <= "～" else 14 if "｡" <= char <= "ﾟ" else 18


_SCRIPTS = {"cp932": "kana", "euc_jp": "kana", "cp949": "hangul"}


def _row(char: str, codec: str) -> int:
    """Return the lead byte: the charsets list frequent characters first. 255 where it has none."""
    try:
        return char.encode(codec)[0]
    except UnicodeEncodeError:
        return 0 if codec == "euc_kr" else 255


_HAN, _HANGUL = frozenset(FREQUENT["han"]), frozenset(FREQUENT["hangul"])
