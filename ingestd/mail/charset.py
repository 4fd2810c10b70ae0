"""Turns bytes into text, knowing how mail lies about its charset.

A label is a claim. Each known lie is answered by the charset that contains the
claimed one (gb2312 → GB18030, ISO-8859-1 → windows-1252: WHATWG Encoding §4.2),
so that an honest message reads the same and a lying one reads at all.
"""

from __future__ import annotations

import codecs
import re

_SUPERSETS = {
    "gb2312": "gb18030",
    "gb_2312-80": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "cp936": "gb18030",
    "iso-8859-1": "cp1252",
    "iso8859-1": "cp1252",
    "iso_8859-1": "cp1252",
    "latin1": "cp1252",
    "latin-1": "cp1252",
    "iso-8859-9": "cp1254",
    "iso-8859-11": "cp874",
    "tis-620": "cp874",
    "iso-8859-8-i": "iso-8859-8",
    "iso-8859-6-i": "iso-8859-6",
    "ks_c_5601-1987": "cp949",
    "ks_c_5601": "cp949",
    "euc-kr": "cp949",
    "korean": "cp949",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "sjis": "cp932",
    "x-sjis": "cp932",
    "windows-31j": "cp932",
    "iso-2022-jp": "iso2022_jp_ext",
    "big5": "big5hkscs",
    "x-mac-cyrillic": "mac_cyrillic",
    "macintosh": "mac_roman",
    "x-mac-roman": "mac_roman",
    "win-1251": "cp1251",
    "x-cp1251": "cp1251",
    "koi8-ru": "koi8_u",
    "unicode-1-1-utf-7": "utf-7",
    "utf8mb4": "utf-8",
    "unicode": "utf-16",
}
_NO_CLAIM = frozenset(
    {"", "us-ascii", "ascii", "ansi_x3.4-1968", "unknown", "unknown-8bit", "x-unknown", "default", "binary", "8bit"}
    | {"default_charset", "x-user-defined", "none", "_autodetect", "undefined"}
)
# Codecs of Python that are not charsets: a label must not reach them (rot13, idna, unicode_escape …).
_NOT_CHARSETS = frozenset({"idna", "punycode", "raw_unicode_escape", "unicode_escape", "mbcs", "oem", "palmos"})
_HIGH = re.compile(rb"[\x80-\xff]+")
_COMMON_CYRILLIC = frozenset("оеаинтсрвлкмдпуяыьгзбчйхОЕАИНТСРВЛКМДПУЯ")
_LOWER_CYRILLIC = frozenset("абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґ")


def python_codec(label: str) -> str | None:
    """Return the codec to read `label` with, or None where the label claims nothing usable.

    >>> python_codec("GB2312"), python_codec("x-unknown"), python_codec("rot13")
    ('gb18030', None, None)
    """
    name = label.strip().strip("\"'").lower()
    if name in _NO_CLAIM or len(name) > 40 or not name.isascii() or "\0" in name:
        return None
    name = name.removeprefix("charset=")
    name = _SUPERSETS.get(name, name)
    if name.startswith("windows") and "-" not in name:
        name = "cp" + name[7:].lstrip("_")
    try:
        info = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    if info.name in _NOT_CHARSETS or not getattr(info, "_is_text_encoding", True):
        return None
    return _SUPERSETS.get(info.name, info.name)


def decode(data: bytes, label: str = "") -> tuple[str, str, str | None]:
    """Return the text, the charset it was read in, and a defect word or None.

    Never raises; bytes that no charset explains become U+FFFD.

    >>> decode("Grüße".encode(), "us-ascii")
    ('Grüße', 'utf-8', 'charset-wrong')
    >>> decode("Привет, как дела".encode("koi8-r"))[1]
    'koi8-r'
    """
    codec = python_codec(label)
    if codec in ("utf-16", "utf-32") and b"\0" not in data:
        codec = None
    if data.isascii() and b"\x1b" not in data and codec not in ("utf-7", "hz", "utf-16", "utf-32"):
        return data.decode("ascii"), codec or "us-ascii", None
    if codec is None:
        return _guess(data, label)
    if codec != "utf-8" and _is_multibyte_utf8(data) and not codec.startswith(("utf", "iso2022")):
        # A legacy label on text that is valid UTF-8 with several multi-byte characters: the label lies.
        return data.decode("utf-8"), "utf-8", "charset-wrong"
    try:
        return _decode(data, codec, "strict"), codec, None
    except (UnicodeError, ValueError):
        pass
    if codec == "utf-8":
        text, charset, _ = _guess(data, "")
        if charset not in ("cp1252", "utf-8"):
            return text, charset, "charset-wrong"
    try:
        return _decode(data, codec, "replace"), codec, "charset-broken-bytes"
    except (UnicodeError, ValueError):
        return data.decode("utf-8", "replace"), "utf-8", "charset-broken-bytes"


def _decode(data: bytes, codec: str, errors: str) -> str:
    text = data.decode(codec, errors)
    if codec == "utf-7":
        # It alone gives halves of surrogate pairs, which are no characters and cannot be written as UTF-8.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", errors)
    return text


def _is_multibyte_utf8(data: bytes) -> bool:
    # Short Shift_JIS or GBK runs can be valid UTF-8 by chance; three characters in a row of runs are not.
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return len(data) - len(text) >= 3


def _guess(data: bytes, label: str) -> tuple[str, str, str | None]:
    """Read text that has no usable label: UTF-8, ISO-2022, Cyrillic by letter statistics, else windows-1252."""
    defect = "charset-wrong" if label.strip().lower() in ("us-ascii", "ascii") else "charset-unlabelled"
    if label and label.strip().lower() not in _NO_CLAIM:
        defect = "charset-unknown"
    if b"\x1b$" in data or b"\x1b(" in data:
        try:
            return data.decode("iso2022_jp_ext"), "iso-2022-jp", defect
        except UnicodeDecodeError:
            pass
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace"), "utf-16", defect
    try:
        return data.decode("utf-8"), "utf-8", defect if not data.isascii() else None
    except UnicodeDecodeError as error:
        # One bad byte in long UTF-8 text (a cut message) does not make it another charset.
        if error.start > 200 and len(_HIGH.findall(data[: error.start])) > 3:
            return data.decode("utf-8", "replace"), "utf-8", "charset-broken-bytes"
    charset = _guess_legacy(data[:8192])
    return data.decode(charset, "replace"), charset, defect


def _guess_legacy(data: bytes) -> str:
    runs = _HIGH.findall(data)
    high = sum(map(len, runs))
    longest = max(map(len, runs), default=0)
    if longest < 3 or high / max(len(runs), 1) < 2:
        return "cp1252"  # single accented letters between ASCII ones: a Western text
    scores = {name: _cyrillic_score(data, name) for name in ("windows-1251", "koi8-r", "cp866", "iso-8859-5")}
    best = max(scores, key=lambda name: scores[name])
    asian = _guess_asian(data)
    if asian is not None and scores[best] < 1.2:
        return asian
    return best if scores[best] > 0.5 else "cp1252"


def _guess_asian(data: bytes) -> str | None:
    """Return a double-byte charset whose decoding holds kana, hangul or common Han, or None."""
    for name, first, last in (("cp932", "ぁ", "ヺ"), ("euc_jp", "ぁ", "ヺ"), ("cp949", "가", "힣")):
        try:
            text = data.decode(name)
        except UnicodeDecodeError:
            continue
        wide = [c for c in text if c > "\x7f"]
        if wide and sum(first <= c <= last for c in wide) > 0.4 * len(wide):
            return name
    return None


def _cyrillic_score(data: bytes, charset: str) -> float:
    """Return how much `data` looks like Russian or Ukrainian in `charset`: letters that are common and lower case."""
    text = data.decode(charset, "replace")
    high = [c for c in text if c > "\x7f"]
    if not high:
        return 0.0
    common = sum(c in _COMMON_CYRILLIC for c in high)
    lower = sum(c in _LOWER_CYRILLIC for c in high)
    return (common + lower) / len(high) if (lower or common) else 0.0
