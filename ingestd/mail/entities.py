"""Writes the parts of a message (RFC 2045, 2046, 2387): ASCII, each line ended by CRLF and short.

What is put into a part stays beside it, so that the message can be read again and compared.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ingestd.mail.fields import ComposeError, fold, parameter, plain_line

_CONTENT_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,80}/[a-z0-9][a-z0-9!#$&^_.+-]{0,80}")
_BOUNDARY = re.compile(r"[A-Za-z0-9_=.-]{16,68}")
_NAME_CHARS_MAX = 250


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a part without parts inside it holds."""

    field: str
    """What an error about it names."""
    content_type: str
    content: bytes
    name: str = ""
    content_id: str = ""


@dataclass(frozen=True, slots=True)
class Entity:
    """A part as it is written, header and body."""

    text: str
    content_type: str
    leaves: tuple[Leaf, ...]
    """What lies in it, in the order of the message."""


def text_entity(subtype: str, text: str) -> Entity:
    """Return a text/plain or text/html part in UTF-8; `text` has "\\n" between its lines."""
    data = (text.replace("\n", "\r\n") + "\r\n").encode("utf-8")
    head = f"Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: "
    # Mostly non-ASCII text is smaller in base64; the rest stays readable in quoted-printable.
    if sum(byte > 126 for byte in data) * 6 > len(data):
        written = f"{head}base64\r\n\r\n{_base64(data)}"
    else:
        written = f"{head}quoted-printable\r\n\r\n{_quoted_printable(data)}"
    field = "text" if subtype == "plain" else subtype
    return Entity(written, f"text/{subtype}", (Leaf(field, f"text/{subtype}", data),))


def attachment_entity(name: str, content_type: str, content: bytes) -> Entity:
    """Return a file to be saved."""
    kind = content_type.lower()
    if not _CONTENT_TYPE.fullmatch(kind) or kind.startswith(("multipart/", "message/")):
        # RFC 2046 §5.2.1 forbids base64 on message/*, and a multipart would be read as structure.
        kind = "application/octet-stream"
    leaf = Leaf("attachments", kind, content, _file_name("attachment name", name))
    return _file(leaf, "attachment", "")


def image_entity(content_id: str, name: str, content_type: str, content: bytes) -> Entity:
    """Return an image that the HTML shows as `cid:` and the id, which is without brackets (RFC 2392)."""
    leaf = Leaf("inline images", content_type, content, _file_name("image name", name), content_id)
    return _file(leaf, "inline", fold("Content-ID", [f"<{content_id}>"]))


def _file_name(field: str, name: str) -> str:
    # Clients decode encoded words in names, though RFC 2047 §5 (3) forbids them there: none must be seen in one.
    return plain_line(field, name).replace("=?", "_?")[:_NAME_CHARS_MAX].rstrip()


def _file(leaf: Leaf, disposition: str, more: str) -> Entity:
    words = [f"{disposition};", *parameter("name", "filename", leaf.name)]
    head = f"Content-Type: {leaf.content_type}\r\nContent-Transfer-Encoding: base64\r\n{more}"
    written = f"{head}{fold('Content-Disposition', words)}\r\n{_base64(leaf.content)}"
    return Entity(written, leaf.content_type, (leaf,))


def multipart(subtype: str, boundary: str, parts: Sequence[Entity]) -> Entity:
    """Return the parts in one; a multipart/related names the type of its first, the root (RFC 2387 §3.1)."""
    if not _BOUNDARY.fullmatch(boundary):
        raise ComposeError("boundary", "has the wrong form")
    delimiter = f"--{boundary}"
    if any(delimiter in part.text for part in parts):
        raise ComposeError("boundary", "occurs in the message")
    words = [f"multipart/{subtype};", f'boundary="{boundary}"']
    if subtype == "related":
        words = [words[0], f'type="{parts[0].content_type}";', words[1]]
    joined = "".join(f"{delimiter}\r\n{part.text}\r\n" for part in parts)
    written = f"{fold('Content-Type', words)}\r\n{joined}{delimiter}--\r\n"
    return Entity(written, f"multipart/{subtype}", tuple(leaf for part in parts for leaf in part.leaves))


def _quoted_printable(data: bytes) -> str:
    out = []
    for line in data.split(b"\r\n")[:-1]:
        encoded = binascii.b2a_qp(line, istext=True).decode("ascii").replace("=\n", "=\r\n")
        # "From " is mangled by mbox writers, and a lone dot by bad SMTP clients (RFC 2049 §3).
        if encoded.startswith("From "):
            encoded = "=46" + encoded[1:]
        elif encoded.startswith("."):
            encoded = "=2E" + encoded[1:]
        out.append(encoded + "\r\n")
    return "".join(out)


def _base64(data: bytes) -> str:
    return base64.encodebytes(data).decode("ascii").replace("\n", "\r\n")
