"""Charsets that switch by escape sequences, and EUC-JP: read with the vendors' characters that Python refuses.

NEC's row 13 (①, ㈱) and IBM's kanji (髙, 﨑) are in every Japanese mailbox, labelled
as the standards that lack them. They are the cells of the same numbers in cp932.
"""

from __future__ import annotations

import re

_ESCAPE = re.compile(rb"\x1b(\$?[()-/]?[@-Z])")
_TO_HIGH = bytes(byte | 0x80 if 0x21 <= byte <= 0x7E else byte for byte in range(256))
_RUN = re.compile(rb"[\x80-\xff]+")
_RUNS_MAX = 20_000
"""Beyond so many words, what the standard codec cannot read is left unread."""
_EUC_CHAR = re.compile(rb"\x8f[\xa1-\xfe]{2}|\x8e[\xa1-\xdf]|([\xa1-\xfe])([\xa1-\xfe])|[\x80-\xff]")
_SHIFTS = re.compile(rb"\x0e([^\x0e\x0f\n]*)\x0f?")


def decode_euc_jp(data: bytes) -> str:
    """Decode EUC-JP; never raises.

    >>> decode_euc_jp("髙".encode("euc_jp", "replace") + bytes([0xAD, 0xA1]))
    '?①'
    """
    try:
        return data.decode("euc_jp")
    except UnicodeDecodeError:
        pass
    out: list[str] = []
    position = 0
    for number, match in enumerate(_RUN.finditer(data)):
        if number > _RUNS_MAX:
            return "".join(out) + data[position:].decode("euc_jp", "replace")
        out.append(data[position : match.start()].decode("ascii"))
        out.append(_euc_run(match[0]))
        position = match.end()
    out.append(data[position:].decode("ascii"))
    return "".join(out)


def _euc_run(run: bytes) -> str:
    try:
        return run.decode("euc_jp")
    except UnicodeDecodeError:
        vendor = "".join(_euc_char(match) for match in _EUC_CHAR.finditer(run, 0, _RUNS_MAX * 2))
        return vendor + run[_RUNS_MAX * 2 :].decode("euc_jp", "replace")


def _euc_char(match: re.Match[bytes]) -> str:
    if match[1] is None:
        return match[0].decode("euc_jp", "replace")[:1]
    row, cell = match[1][0] - 0xA0, match[2][0] - 0xA0
    lead = (row - 1) // 2 + (0x81 if row <= 62 else 0xC1)
    trail = cell + (0x9E if row % 2 == 0 else 0x3F if cell <= 63 else 0x40)
    return bytes((lead, trail)).decode("cp932", "replace")[:1]


def decode_iso2022_jp(data: bytes) -> str:
    """Decode ISO-2022-JP (RFC 1468), its extensions and 8-bit katakana in it; never raises.

    >>> decode_iso2022_jp(b"\\x1b$B-!4k\\x1b(B ok")
    '①企 ok'
    """
    try:
        return data.decode("iso2022_jp_ext")
    except UnicodeDecodeError:
        pass
    out: list[str] = []
    position, mode = 0, b"(B"
    for match in _ESCAPE.finditer(data):
        out.append(_segment(data[position : match.start()], mode))
        position, mode = match.end(), match[1]
    out.append(_segment(data[position:], mode))
    return "".join(out)


def _segment(data: bytes, mode: bytes) -> str:
    if mode in (b"$B", b"$@", b"$(B", b"$(Q", b"$(O"):
        return decode_euc_jp(data.translate(_TO_HIGH))
    if mode == b"(I":
        return data.translate(_TO_HIGH).decode("cp932", "replace")
    if mode == b"$(D":
        high = data.translate(_TO_HIGH)
        return b"".join(b"\x8f" + high[at : at + 2] for at in range(0, len(high), 2)).decode("euc_jp", "replace")
    return data.decode("cp932", "replace")  # ASCII, and katakana where a client sent them with eight bits


def decode_shifted(data: bytes, codec: str) -> str:
    """Decode ISO-2022-KR (RFC 1557) or -CN (RFC 1922), also where the designator was lost; never raises.

    Between SO and SI stand the bytes of `codec` (cp949, gb18030) without their eighth bit; a line's end ends it.

    >>> decode_shifted(b"\\x0e0(;g\\x0f!", "cp949")
    '감사!'
    """
    plain = re.sub(rb"\x1b\$[)*+][A-Z]", b"", data)
    return _SHIFTS.sub(lambda match: match[1].translate(_TO_HIGH), plain).decode(codec, "replace")
