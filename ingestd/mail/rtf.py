"""RTF bodies of Outlook: unpacked ([MS-OXRTFCP]), and read as text or as the HTML they were made of ([MS-OXRTFEX]).

Only what a reader needs: characters in their charsets, paragraphs, the targets of links.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ingestd.mail.charset import decode as decode_charset
from ingestd.mail.limits import DEFAULT_LIMITS, Limits

# What the decoder's window holds at the start ([MS-OXRTFCP] §2.1.2.1).
_DICTIONARY = (
    b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript \\fdecor "
    b"MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par \\pard\\plain\\f0\\fs20"
    b"\\b\\i\\u\\tab\\tx"
)
_WINDOW = 4096
_COMPRESSED, _UNCOMPRESSED = b"LZFu", b"MELA"


def decompress(packed: bytes, bytes_max: int) -> bytes:
    """Return the RTF of PidTagRtfCompressed, at most `bytes_max` of it; empty where it is none. Never raises.

    >>> decompress(bytes.fromhex("15000000 09000000") + b"MELA" + bytes(4) + b"{\\\\rtf1 a}", 100)
    b'{\\\\rtf1 a}'
    """
    kind, size = packed[8:12], min(int.from_bytes(packed[4:8], "little"), bytes_max)
    if kind == _UNCOMPRESSED:
        return packed[16 : 16 + size]
    if kind != _COMPRESSED:
        return b""
    begun = len(_DICTIONARY)
    out = bytearray(_DICTIONARY)
    at, end, full = 16, len(packed), begun + size
    while at < end and len(out) < full:
        control = packed[at]
        at += 1
        if not control:
            out += packed[at : at + 8]  # eight literals, the common case
            at += 8
            continue
        for bit in range(8):
            if not control >> bit & 1:
                out += packed[at : at + 1]
                at += 1
                continue
            if at + 2 > end:
                return bytes(out[begun:full])
            offset, length = packed[at] << 4 | packed[at + 1] >> 4, (packed[at + 1] & 15) + 2
            at += 2
            # Offsets count in a ring of 4096 bytes. The window is filled from its start, so that a place in the
            # ring is one in the output; a reference to the place of the next byte ends the stream.
            back = (len(out) - offset) % _WINDOW
            if not back:
                return bytes(out[begun:full])
            source = bytes(out[-back:][:length]) if back <= len(out) else bytes(length)
            # It may run into what it writes.
            out += source if len(source) == length else (source * length)[:length]
    return bytes(out[begun:full])


# A control word and its number, an escaped byte, a control symbol, a brace, text.
_TOKEN = re.compile(
    rb"\\([a-zA-Z]{1,32})(-?\d{1,9})? ?|\\'([0-9a-fA-F]{2})|\\(.)|([{}])|[\r\n]+|([^\\{}\r\n]+)", re.DOTALL
)
_CHARACTERS = {
    b"par": "\n",
    b"line": "\n",
    b"sect": "\n",
    b"page": "\n",
    b"row": "\n",
    b"tab": "\t",
    b"cell": "\t",
    b"emdash": "—",
    b"endash": "–",
    b"bullet": "•",
    b"lquote": "‘",
    b"rquote": "’",
    b"ldblquote": "“",
    b"rdblquote": "”",
    b"emspace": " ",
    b"enspace": " ",
    b"zwj": "",
}
_SYMBOLS = {b"~": "\u00a0", b"_": "\u2011", b"-": "", b"\\": "\\", b"{": "{", b"}": "}", b"\n": "\n", b"\r": "\n"}
_NOT_TEXT = frozenset(
    b"fonttbl colortbl stylesheet info pict object listtable listoverridetable rsidtbl generator themedata header "
    b"footer headerl headerr footerl footerr nonshppict xmlnstbl datastore latentstyles ftnsep aftnsep fldinst "
    b"bkmkstart bkmkend mhtmltag".split()
)
# \fcharset of a font ([MS-RTF] fonttbl): Outlook writes Cyrillic under \ansicpg1252 with fonts of charset 204.
_CHARSETS = {
    0: "cp1252",
    77: "mac_roman",
    128: "cp932",
    129: "cp949",
    130: "johab",
    134: "gb18030",
    136: "big5hkscs",
    161: "cp1253",
    162: "cp1254",
    163: "cp1258",
    177: "cp1255",
    178: "cp1256",
    186: "cp1257",
    204: "cp1251",
    222: "cp874",
    238: "cp1250",
}
_LINK = re.compile(rb"HYPERLINK\s+\"?([^\"\s]{1,2000})")


@dataclass(slots=True)
class _Group:
    """What a brace restores."""

    skip: bool = False
    """Its text is not for readers."""
    hidden: bool = False
    """\\v: text that Word does not show."""
    markup: bool = False
    """Its text is HTML: \\htmltag."""
    codec: str = ""
    unicode_skip: int = 1
    reading: bytes = b""
    """`fonttbl` or `fldinst`, whose contents are looked at."""


class _Reader:
    def __init__(self, limits: Limits) -> None:
        self.depth_max = limits.rtf_depth_max
        self.out: list[str] = []
        self.pending = bytearray()
        self.pending_codec = ""
        self.group = _Group()
        self.stack: list[_Group] = []
        self.too_deep = 0
        self.codec = "cp1252"
        self.fonts: dict[int, str] = {}
        self.font = 0
        self.from_html = False
        self.only_rtf = False
        """Inside \\htmlrtf: RTF that stands beside the HTML it was made of."""
        self.to_skip = 0
        self.ignorable = False
        self.link = ""

    def flush(self) -> None:
        if self.pending:
            self.out.append(decode_charset(bytes(self.pending), self.pending_codec)[0])
            self.pending.clear()

    def shown(self) -> bool:
        if self.group.skip or self.group.hidden or self.too_deep:
            return False
        return self.group.markup or not (self.from_html and self.only_rtf)

    def bytes_(self, data: bytes) -> None:
        if self.to_skip:
            data, self.to_skip = data[self.to_skip :], max(0, self.to_skip - len(data))
        if self.group.reading == b"fldinst" and not self.link and (found := _LINK.search(data)) is not None:
            self.link = found[1].decode("latin-1")
        if not data or not self.shown():
            return
        codec = self.group.codec or self.codec
        if codec != self.pending_codec:
            self.flush()
            self.pending_codec = codec
        self.pending += data

    def text(self, text: str) -> None:
        if self.shown():
            self.flush()
            self.out.append(text)

    def open(self) -> None:
        if len(self.stack) >= self.depth_max:
            self.too_deep += 1
            return
        old = self.group
        self.stack.append(old)
        self.group = _Group(old.skip, old.hidden, old.markup, old.codec, old.unicode_skip, old.reading)

    def close(self) -> None:
        if self.too_deep:
            self.too_deep -= 1
            return
        if not self.stack:
            return
        ended, self.group = self.group, self.stack.pop()
        if self.link and ended.reading == b"field" and self.group.reading != b"field":
            self._write_target()

    def _write_target(self) -> None:
        """Add the target of a link unless its text shows it already."""
        target, self.link = self.link, ""
        self.flush()
        before = "".join(one[-2000:] for one in self.out[-5:])
        if target.startswith(("http://", "https://")) and target not in before and not self.from_html:
            self.text(f" <{target}>")

    def word(self, name: bytes, number: int | None) -> None:
        ignorable, self.ignorable = self.ignorable, False
        if name == b"htmltag":
            self.group.markup, self.group.skip = True, False
        elif name == b"htmlrtf":
            self.only_rtf = number != 0
        elif name in _NOT_TEXT or (ignorable and name not in (b"pnseclvl", b"fldinst")):
            self.group.skip = True
            self.group.reading = name if name in (b"fonttbl", b"fldinst") else self.group.reading
        elif name == b"field":
            self.group.reading = name
        elif name == b"v":
            self.group.hidden = number != 0
        elif name in _CHARACTERS:
            self.text(_CHARACTERS[name])
        elif number is not None:
            self._numbered(name, number)
        elif name == b"fromhtml":
            self.from_html = True
        elif name in (b"pard", b"plain"):
            self.group.codec = self.fonts.get(0, "") if name == b"plain" else self.group.codec

    def _numbered(self, name: bytes, number: int) -> None:
        if name == b"fromhtml":
            self.from_html = True
        elif name == b"u":
            self._unicode(number)
        elif name == b"uc":
            self.group.unicode_skip = min(max(number, 0), 8)
        elif name == b"ansicpg" and 0 < number < 70_000:
            self.codec = "utf-8" if number == 65001 else f"cp{number}"
        elif name == b"f" and self.group.reading == b"fonttbl":
            self.font = number
        elif name == b"f":
            self.group.codec = self.fonts.get(number, "")
        elif name == b"fcharset" and self.group.reading == b"fonttbl" and len(self.fonts) < 500:
            # 0 is what every font of a Western file says, and says nothing against \ansicpg.
            self.fonts[self.font] = _CHARSETS.get(number, "") if number else ""

    def _unicode(self, number: int) -> None:
        self.to_skip = self.group.unicode_skip
        if self.shown():
            # Signed 16 bits; characters beyond them come as two surrogates, which are joined at the end.
            self.flush()
            self.out.append(chr(number & 0xFFFF))

    def result(self) -> str:
        self.flush()
        joined = "".join(self.out)
        return joined.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def rtf_body(rtf: bytes, limits: Limits = DEFAULT_LIMITS) -> tuple[str, str]:
    """Return (text, HTML) of an RTF body, one of them empty; the HTML is as its sender made it, not sanitized.

    >>> rtf_body(rb"{\\rtf1\\ansi\\ansicpg1251 \\'cf\\'f0\\'e8\\par \\u8364?}")
    ('При\\n€', '')
    """
    if not rtf.startswith(b"{\\rtf"):
        return "", ""
    reader = _Reader(limits)
    position = 0
    # A match of its own for each token, as \bin jumps over what must not be read.
    while (match := _TOKEN.match(rtf, position)) is not None:
        position = match.end()
        word, number, escaped, symbol, brace, text = match.groups()
        if text is not None:
            reader.ignorable = False
            reader.bytes_(text)
        elif word is not None:
            value = int(number) if number is not None else None
            if word == b"bin" and value is not None:
                position += max(0, value)
            else:
                reader.word(word, value)
        elif escaped is not None:
            reader.bytes_(bytes.fromhex(escaped.decode("ascii")))
        elif brace is not None:
            reader.to_skip = 0
            (reader.open if brace == b"{" else reader.close)()
        elif symbol == b"*":
            reader.ignorable = True
        elif symbol is not None and symbol in _SYMBOLS:
            reader.text(_SYMBOLS[symbol])
    result = reader.result().rstrip("\0")
    return ("", result) if reader.from_html else (result.strip(), "")
