"""Turns bytes into text, knowing how mail lies about its charset.

The label is believed where the text is plausible in it; `labels` already reads
each known lie as the charset that contains the claimed one. Bytes that are UTF-8
are UTF-8, whatever is claimed. Else the reading that is the likeliest text wins
(`guess`), the label and what the rest of the mail is written in being ahead.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence

from ingestd.mail.guess import Reading, first_high, is_plausible, knows, least_bits, likeliest, rate, sample
from ingestd.mail.labels import charset_name, python_codec
from ingestd.mail.stateful import decode_euc_jp, decode_iso2022_jp, decode_shifted

_MULTI_BYTE = frozenset({"gb18030", "big5hkscs", "cp932", "euc_jp", "cp949", "johab"})
_WIDE = ("utf-16", "utf-32")
_STATEFUL = ("utf-7", "hz", "iso2022", *_WIDE)
_UTF8_CHAR = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
_HIGH = re.compile(rb"[\x80-\xff]+")
_JAPANESE = re.compile(rb"\x1b(?:\$[@B]|\([IJ]|\$\([DOQ])")
_KOREAN = re.compile(rb"\x1b\$\)C|\x0e[\x21-\x7e]{2}")
_HZ = re.compile(rb"~\{(?:[\x21-\x77][\x21-\x7e])+~\}")
_TWICE = re.compile(r"[ÂÃÐÑ][\x80-\xbfŒœŠšŸŽžƒˆ˜‚„…†‡•‰‹›™€‘’“”–—]|â€|[РС][\x80-\xbfЁ-Џѐ-џҐґ“”„†‡•…‰‹›™€‘’–—№]")
_MARKS = ("Â", "Ã", "Ð", "Ñ", "â€")
"""What begins UTF-8 that was read as windows-1252. Read as windows-1251, every second letter is Р or С."""
_CERTAIN = 3
"""How many characters must be UTF-8 read as something else before text is taken for that."""
_LOOK_BYTES = 64 * 1024
_SHARE_BYTES = 4096
_LINE_CHARS = 6
_LINES_MAX = 20_000
"""Of these each is read in its own charset where a text mixes two; what follows is one more line."""


def decode(data: bytes, label: str = "", hints: Sequence[str] = ()) -> tuple[str, str, str | None]:
    """Return the text, the charset it was read in, and a defect word or None.

    `hints` are labels and charsets of other parts of the same message, for text that has no usable label itself.
    Never raises; bytes that no charset explains become U+FFFD.

    >>> decode("Grüße".encode(), "us-ascii")
    ('Grüße', 'utf-8', 'charset-wrong')
    >>> decode("Привет, как дела".encode("koi8-r"))[1]
    'koi8-r'
    """
    codec = python_codec(label)
    if data.isascii() and b"\x1b" not in data and (codec is None or not codec.startswith(_STATEFUL)):
        if codec == "gb18030" and b"~{" in data and _HZ.search(data):
            codec = "hz"  # RFC 1843, under the label of the charset that it carries
        else:
            return data.decode("ascii"), charset_name(codec or "us-ascii"), None
    text, used, defect = _decode(data, codec, label, hints)
    return text, charset_name(used), defect


def _decode(data: bytes, codec: str | None, label: str, hints: Sequence[str]) -> tuple[str, str, str | None]:
    marked = _by_mark(data, codec)
    if marked is not None:
        return marked[0], marked[1], None if marked[1] == codec else _defect(label, codec)
    if codec is not None and codec.startswith(_WIDE) and b"\0" not in data and _is_text(data):
        codec = None
    if codec is None:
        return _unlabelled(data, label, hints)
    if codec.startswith(_STATEFUL):
        return _stateful(data, codec, hints)
    if codec != "utf-8" and _is_utf8(data, codec):
        # A legacy label on text that is valid UTF-8: the label lies.
        return *_once(data.decode("utf-8")), "charset-wrong"
    try:
        text = data.decode(codec)
    except (UnicodeError, ValueError):
        return _broken(data, codec, hints)
    if codec == "utf-8":
        once, used = _once(text)
        return once, used, None if used == "utf-8" else "charset-doubled"
    better = _better(data, codec, hints)
    if better is not None and (other := _read(data, better)) != text:
        return other, better, "charset-wrong"
    return text, codec, None


def _by_mark(data: bytes, codec: str | None) -> tuple[str, str] | None:
    """Read what begins with a byte order mark; it is stronger than a label (WHATWG Encoding §6)."""
    if data.startswith(codecs.BOM_UTF8):
        try:
            return data[3:].decode("utf-8"), "utf-8"
        except UnicodeDecodeError:
            return None
    if data.startswith((codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE)):
        if data.startswith(codecs.BOM_UTF32_LE) and len(data) % 4 == 0:
            return data.decode("utf-32", "replace"), "utf-32"
        wide = codec is not None and codec.startswith(_WIDE)
        if wide or b"\0" in data or (codec is None and len(data) % 2 == 0):
            return data.decode("utf-16", "replace"), "utf-16"
    return None


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_utf8(data: bytes, codec: str) -> bool:
    """Return whether `data` is UTF-8 that cannot well be text in `codec`.

    A letter of UTF-8 is a capital and a symbol in single-byte charsets, so one is enough, except where symbols'
    places are letters: і and ї in Cyrillic ones, Thai. Of double-byte text, two characters are UTF-8 by chance.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    least = 4 if codec in _MULTI_BYTE or codec == "cp874" else 1 if codec in _ONE_IS_ENOUGH else 2
    return len(data) - len(text) >= least


_COMMON = _MULTI_BYTE | {"cp1252", "cp1251", "koi8-r", "koi8-u", "cp1250", "iso8859-2", "iso8859-15"}
"""Labels that are believed without a look at others where the text is plausible."""
_ONE_IS_ENOUGH = frozenset(
    {"cp1252", "cp1250", "cp1254", "cp1257", "iso8859-2", "iso8859-15", "koi8-r", "mac-roman", "cp850", "cp437"}
)


def _once(text: str) -> tuple[str, str]:
    """Return text that was encoded as UTF-8 twice as it was meant, where that is certain, and its charset.

    Certain is: *all* of it can be read back, so there is no letter outside ASCII that was not encoded twice.
    """
    head = text[:_LOOK_BYTES]
    if not any(mark in head for mark in _MARKS) and (head.count("Р") + head.count("С")) * 5 < len(head):
        return text, "utf-8"
    if len(_TWICE.findall(head)) < _CERTAIN:
        return text, "utf-8"
    for codec in ("cp1252", "cp1251"):
        try:
            once = _encode(text, codec).decode("utf-8")
        except UnicodeError:
            continue
        if len(once) <= len(text) - _CERTAIN:
            return once, f"utf-8, read as {charset_name(codec)}"
    return text, "utf-8"


def _encode(text: str, codec: str) -> bytes:
    """Encode as decoders of browsers and mailers decode: a byte without a character is the control of its number."""
    try:
        return text.encode(codec)
    except UnicodeEncodeError:
        return b"".join(bytes((ord(char),)) if "\x80" <= char <= "\x9f" else char.encode(codec) for char in text)


def _defect(label: str, codec: str | None) -> str:
    if codec is not None or "ascii" in label.lower():
        return "charset-wrong"
    return "charset-unlabelled" if len(label.strip()) == 0 or python_codec(label) is None else "charset-wrong"


def _unlabelled(data: bytes, label: str, hints: Sequence[str]) -> tuple[str, str, str | None]:
    """Read text that has no usable label."""
    plain = label.strip().lower()
    defect = "charset-wrong" if "ascii" in plain else "charset-unknown" if plain else "charset-unlabelled"
    if _JAPANESE.search(data):
        return decode_iso2022_jp(data), "iso2022_jp", defect
    if _KOREAN.search(data) and data.isascii():
        return decode_shifted(data, "cp949"), "iso2022_kr", defect
    wide = _zeros(data)
    if wide is not None:
        return data.decode(wide, "replace"), wide, defect
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return _mixed(data, hints) or _guessed(data, hints, defect)
    once, used = _once(text)
    return once, used, defect if not data.isascii() else None


def _zeros(data: bytes) -> str | None:
    """Return UTF-16's byte order where every second byte of the beginning is mostly NUL."""
    head = data[:512]
    if head.count(0) * 3 < len(head) or len(data) < 4:
        return None
    return "utf-16-le" if head[1::2].count(0) > head[0::2].count(0) else "utf-16-be"


def _guessed(data: bytes, hints: Sequence[str], defect: str | None) -> tuple[str, str, str | None]:
    codec = likeliest(sample(data), _codecs(hints)).charset
    return _read(data, codec), codec, defect


def _codecs(labels: Sequence[str]) -> list[str]:
    return [codec for codec in map(python_codec, labels) if codec is not None]


def _stateful(data: bytes, codec: str, hints: Sequence[str]) -> tuple[str, str, str | None]:
    if codec == "utf-16" or codec == "utf-32":  # noqa: PLR1714 - no mark: RFC 2781 §4.3 says big-endian, mailers little
        codec += "-le" if data[1::2].count(0) >= data[0::2].count(0) and data.count(0) else "-be"
    if codec.startswith("iso2022"):
        if not data.isascii() and b"\x1b" not in data:
            favoured = ("cp932", "euc_jp") if codec == "iso2022_jp" else ("cp949",)
            if _is_text(data):
                return *_once(data.decode("utf-8")), "charset-wrong"
            return _guessed(data, favoured, "charset-wrong")
        text = decode_iso2022_jp(data) if codec == "iso2022_jp" else decode_shifted(data, "cp949")
        return text, codec, "charset-broken-bytes" if "\ufffd" in text else None
    try:
        text = data.decode(codec)
        return (_whole(text), codec, None) if codec == "utf-7" else (text, codec, None)
    except (UnicodeError, ValueError):
        pass
    if not data.isascii():
        text, used, _ = _unlabelled(data, "", hints)
        return text, used, "charset-wrong"
    try:
        return _whole(data.decode(codec, "replace")), codec, "charset-broken-bytes"
    except (UnicodeError, ValueError):
        return data.decode("utf-8", "replace"), "utf-8", "charset-broken-bytes"


def _whole(text: str) -> str:
    # UTF-7 gives halves of surrogate pairs, which are no characters and cannot be written as UTF-8.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _better(data: bytes, codec: str, hints: Sequence[str]) -> str | None:
    """Return the codec in which the text is far likelier than in the labelled one, or None."""
    if not knows(codec) or (codec in _COMMON and is_plausible(data, codec)):
        return None
    stretches = sample(data)
    labelled = rate(stretches, codec)
    if labelled is None or labelled.units < (4 if codec in _MULTI_BYTE else 2):
        return None  # two letters are unlikely in every charset
    if labelled.bits - least_bits(labelled, favoured := _codecs(hints)) <= _MARGIN:
        return None  # as nearly all that is short: nothing can be so much likelier
    best = likeliest(stretches, favoured)
    return best.charset if _refutes(best, labelled) else None


_MARGIN = 13
"""Bits by which another charset must be likelier than the labelled one, at least."""


def _refutes(best: Reading, labelled: Reading) -> bool:
    # In doubt the label is right: a rare language is unlikely in every charset.
    likely = best.mean <= (13 if best.charset in _MULTI_BYTE else 8.5)
    # Cyrillic of Apple and of Windows differs in few letters: there a few are enough.
    margin = _MARGIN if labelled.charset == "mac-cyrillic" else max(_MARGIN, 9 + labelled.units * 2 // 3)
    return likely and labelled.bits - best.bits > margin


def _broken(data: bytes, codec: str, hints: Sequence[str]) -> tuple[str, str, str | None]:
    """Read what the labelled charset cannot: the wrong label, two charsets in one text, or damage."""
    if (mixed := _mixed(data, hints)) is not None:
        return mixed
    if codec == "euc_jp":
        text = decode_euc_jp(data)
        if "\ufffd" not in text:
            return text, codec, None
    stretches = sample(data)
    best = likeliest(stretches, (codec, *_codecs(hints)))
    labelled = rate(stretches, codec)
    if best.charset != codec and (labelled is None or _refutes(best, labelled)):
        return _read(data, best.charset), best.charset, "charset-wrong"
    if codec == "big5hkscs" and (other := _strict(data, "cp950")) is not None:
        return other, codec, None
    return _read(data, codec), codec, "charset-broken-bytes"


def _mixed(data: bytes, hints: Sequence[str]) -> tuple[str, str, str] | None:
    """Read text that is mostly UTF-8: damaged, or with lines of another charset (a list's footer, a quotation)."""
    valid, high = _utf8_share(data)
    lines = data.split(b"\n", _LINES_MAX)
    # Short legacy text is half UTF-8 by chance; long text, or a whole line of words, never is.
    if valid < 4 or (valid < high * (0.8 if high < 60 else 0.4) and not any(map(_is_utf8_line, lines))):
        return None
    other = [index for index, line in enumerate(lines) if not _is_text(line)]
    strange = b"\n".join(lines[index] for index in other)
    valid, high = _utf8_share(strange)
    if valid * 2 >= high:
        return _read(data, "utf-8"), "utf-8", "charset-broken-bytes"
    codec = likeliest(sample(strange), _codecs(hints)).charset
    for index in other:
        lines[index] = _read(lines[index], codec).encode("utf-8")
    return b"\n".join(lines).decode("utf-8", "replace"), "utf-8", "charset-mixed"


def _is_utf8_line(line: bytes) -> bool:
    return not line.isascii() and _is_text(line) and len(line) - len(line.decode("utf-8")) >= _LINE_CHARS


def _utf8_share(data: bytes) -> tuple[int, int]:
    """Return how many bytes belong to characters of UTF-8, and how many are 8-bit, where 8-bit text begins."""
    begun = max(first_high(data), 0)
    data = data[begun : begun + _SHARE_BYTES]
    return sum(map(len, _UTF8_CHAR.findall(data))), sum(map(len, _HIGH.findall(data)))


def _strict(data: bytes, codec: str) -> str | None:
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        return None


_PAIRED = re.compile(rb"\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]")


def _read(data: bytes, codec: str) -> str:
    """Decode, with U+FFFD for what is no character."""
    if codec == "euc_jp":
        return decode_euc_jp(data)
    if codec == "utf-8" and _PAIRED.search(data):  # CESU-8: Java and old databases write emoji as two halves
        halves = _PAIRED.sub(
            lambda match: (
                match[0]
                .decode("utf-8", "surrogatepass")
                .encode("utf-16-le", "surrogatepass")
                .decode("utf-16-le")
                .encode()
            ),
            data,
        )
        return halves.decode("utf-8", "replace")
    try:
        return data.decode(codec, "replace")
    except (UnicodeError, ValueError):
        return data.decode("utf-8", "replace")
