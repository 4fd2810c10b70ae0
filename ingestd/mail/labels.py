"""Charset labels as mail writes them, and Python's codecs for them.

A label is a claim. Each known lie is answered by the charset that contains the
claimed one (gb2312 → GB18030, ISO-8859-1 → windows-1252: WHATWG Encoding §4.2),
so that an honest message reads the same and a lying one reads at all.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

_NO_CLAIM = frozenset(
    {"ascii", "usascii", "csascii", "us", "ansix341968", "ansix341986", "iso646us", "isoir6", "7bit", "8bit", "binary"}
    | {"unknown", "unknown8bit", "xunknown", "default", "defaultcharset", "xuserdefined", "none", "null", "undefined"}
    | {"autodetect", "charset", "text"}
)
# Windows code pages by number, where they are not simply Python's cpNNN.
_PAGES = {
    "819": "cp1252",
    "932": "cp932",
    "936": "gb18030",
    "949": "cp949",
    "950": "big5hkscs",
    "1200": "utf-16-le",
    "1201": "utf-16-be",
    "10000": "mac-roman",
    "10006": "mac-greek",
    "10007": "mac-cyrillic",
    "10029": "mac-latin2",
    "10081": "mac-turkish",
    "20866": "koi8-r",
    "20932": "euc_jp",
    "20936": "gb18030",
    "21866": "koi8-u",
    "28591": "cp1252",
    "28592": "iso8859-2",
    "28595": "iso8859-5",
    "28599": "cp1254",
    "31j": "cp932",
    "50220": "iso2022_jp",
    "50221": "iso2022_jp",
    "50222": "iso2022_jp",
    "50225": "iso2022_kr",
    "51932": "euc_jp",
    "51936": "gb18030",
    "51949": "cp949",
    "52936": "hz",
    "54936": "gb18030",
    "65000": "utf-7",
    "65001": "utf-8",
}
_WIDER = {"1": "cp1252", "8": "cp1255", "9": "cp1254", "11": "cp874"}
"""ISO 8859 parts that are read as the Windows code pages that contain them."""
# Tried in order, on a label in lower case without its punctuation.
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), codec)
    for pattern, codec in (
        (r"(?:x|unicode11|cs)?utf7", "utf-7"),
        (r"(?:x|cs)?(?:unicode(?:11|20))?utf8", "utf-8"),
        (r"(?:cs)?(?:utf16|iso10646)?(?:ucs2|utf16|unicodefffe|unicode)?be|unicodefffe", "utf-16-be"),
        (r"(?:cs)?(?:utf16|ucs2|unicode)le|unicodefeff", "utf-16-le"),
        (r"(?:cs)?(?:utf16|unicode|iso10646ucs2|ucs2)$", "utf-16"),
        (r"(?:cs)?koi8?ru$|(?:cs)?koi8u", "koi8-u"),
        (r"(?:cs)?koi(?:$|7|8)", "koi8-r"),
        (r"hz", "hz"),
        (r"(?:x|cs|cn)?(?:gb|euccn|chinese|isoir58|iso58gb)", "gb18030"),
        (r"(?:x|cs|cn|xx)?big5", "big5hkscs"),
        (r"(?:x|cs)?(?:shiftjis|sjis|mskanji|windows31j)", "cp932"),
        (r"(?:x|cs)?(?:eucjp|eucpkdfmtjapanese|ujis)", "euc_jp"),
        (r"(?:x|cs)?(?:euckr|ks?c5601|ksc|korean|isoir149|uhc)", "cp949"),
        (r"(?:x|cs)?(?:iso2022jp|jis$)", "iso2022_jp"),
        (r"(?:x|cs)?iso2022kr", "iso2022_kr"),
        (r"(?:x)?mac(?:intosh)?(?:roman)?$|csmacintosh", "mac-roman"),
        (r"(?:x)?mac(?:cyrillic|ukrainian)", "mac-cyrillic"),
        (r"(?:x)?mac(?:ce|centraleurope|latin2)", "mac-latin2"),
        (r"(?:x)?macgreek", "mac-greek"),
        (r"(?:x)?macturkish", "mac-turkish"),
    )
)
# The parts of ISO 8859 by their other names: Latin-5 is part 9, ISO-IR-144 is part 5.
_LATIN = {"1": "1", "2": "2", "3": "3", "4": "4", "5": "9", "6": "10", "7": "13", "8": "14", "9": "15", "10": "16"}
_REGISTERED = {"100": "1", "101": "2", "109": "3", "110": "4", "144": "5", "127": "6", "126": "7", "138": "8"}
_REGISTERED |= {"148": "9", "157": "10", "166": "11"}
_SCRIPTS = {
    "5": ("cyrillic", "latincyrillic"),
    "6": ("arabic", "latinarabic", "asmo708", "ecma114"),
    "7": ("greek", "greek8", "latingreek", "suneugreek", "ecma118", "elot928"),
    "8": ("hebrew", "latinhebrew", "visual", "logical"),
    "11": ("tis620", "tis6202533", "thai"),
}
_OTHER_NAMES = (
    {f"latin{number}": part for number, part in _LATIN.items()}
    | {f"l{number}": part for number, part in _LATIN.items()}
    | {f"ir{number}": part for number, part in _REGISTERED.items()}
    | {name: part for part, names in _SCRIPTS.items() for name in names}
)
_ISO_8859 = re.compile(r"(?:x|cs)?(?:iso)?8859(1[0-6]|[1-9])(?:$|\D)")
_ISO = re.compile(r"^(?:x|cs)?(?:iso)?")
_PAGE = re.compile(r"(?:x|cs)?(?:windows|win|cp|ms|ansi|ibm|dos|codepage)(?:cp)?(31j|\d{3,5})")
_PUNCTUATION = re.compile(r"[^a-z0-9]+")
# Codecs of Python that are not charsets: a label must not reach them (rot13, idna, unicode_escape …).
_NOT_CHARSETS = frozenset({"idna", "punycode", "raw-unicode-escape", "unicode-escape", "mbcs", "oem", "palmos"})
_NAMES = {
    "big5hkscs": "big5",
    "cp874": "windows-874",
    "cp932": "shift_jis",
    "cp949": "euc-kr",
    "cp866": "ibm866",
    "euc_jp": "euc-jp",
    "hz": "hz-gb-2312",
    "iso2022_jp": "iso-2022-jp",
    "iso2022_kr": "iso-2022-kr",
    "mac-cyrillic": "x-mac-cyrillic",
    "mac-roman": "macintosh",
    "utf-16-be": "utf-16be",
    "utf-16-le": "utf-16le",
}


@lru_cache(maxsize=512)
def python_codec(label: str) -> str | None:
    """Return the codec to read `label` with, or None where the label claims nothing usable.

    >>> python_codec("GB2312"), python_codec("x-unknown"), python_codec("rot13")
    ('gb18030', None, None)
    >>> python_codec("windows-1251"), python_codec("cp-1251"), python_codec('"ISO_8859-1:1987"')
    ('cp1251', 'cp1251', 'cp1252')
    """
    if len(label) > 60 or not label.isascii():
        return None
    plain = label.strip().strip("\"'").lower().removeprefix("charset=").split(":", 1)[0]
    name = _PUNCTUATION.sub("", plain)
    if not name or name in _NO_CLAIM:
        return None
    if (part := _ISO_8859.match(name)) is not None:
        return _WIDER.get(part[1]) or _known(f"iso8859-{part[1]}")
    if (page := _PAGE.match(name)) is not None:
        return _PAGES.get(page[1]) or _known(f"cp{page[1]}")
    other = _OTHER_NAMES.get(_ISO.sub("", name))
    if other is not None:
        return _WIDER.get(other) or f"iso8859-{other}"
    return next((codec for pattern, codec in _PATTERNS if pattern.match(name)), None) or _known(plain)


def _known(name: str) -> str | None:
    """Return Python's own name of a charset, None for what it does not know or is none."""
    try:
        info = codecs.lookup(name)
    except (LookupError, ValueError):  # ValueError: a NUL in the name
        return None
    if info.name.replace("_", "-") in _NOT_CHARSETS or not getattr(info, "_is_text_encoding", True):
        return None
    return info.name


@lru_cache(maxsize=128)
def charset_name(codec: str) -> str:
    """Return the name by which mail and browsers know a codec.

    >>> charset_name("cp1251"), charset_name("iso8859-2")
    ('windows-1251', 'iso-8859-2')
    """
    if codec in _NAMES:
        return _NAMES[codec]
    if codec.startswith("cp125"):
        return f"windows-{codec[2:]}"
    return codec.replace("iso8859-", "iso-8859-").replace("_", "-")
