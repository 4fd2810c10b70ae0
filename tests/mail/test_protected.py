"""Signed and encrypted mail: opened where a signature is only around it, recognised and named else."""

from __future__ import annotations

import base64
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.mail.containers import content_of
from ingestd.mail.limits import Limits
from ingestd.mail.parse import parse
from ingestd.mail.protected import Cms, read_cms

FIXTURES = Path(__file__).parent / "fixtures"
HEAD = b"From: Jane <jane@example.com>\r\nMessage-ID: <1@example.com>\r\nMIME-Version: 1.0\r\n"
ENTITY = b"Content-Type: text/plain; charset=utf-8\r\n\r\nHello, signed.\r\n"


@pytest.mark.parametrize("name", ["smime-opaque-der", "smime-opaque-indefinite-lengths"])
def test_an_opaque_signature_is_opened(name: str) -> None:
    raw = (FIXTURES / f"{name}.eml").read_bytes()
    mail = parse(raw)
    assert (mail.text, mail.protection) == ("Grüße, signed.", ("smime-signed",))
    (attachment,) = mail.attachments
    assert (attachment.name, attachment.container) == ("contract.pdf", "smime")
    assert content_of(attachment, raw[attachment.offset : attachment.offset + attachment.length]) == b"%PDF-1.4\n"


def test_a_clear_signature_stays_a_file() -> None:
    mail = parse((FIXTURES / "smime-clear-signed.eml").read_bytes())
    assert (mail.text, mail.protection) == ("Grüße, signed.", ("smime-signed",))
    assert [one.name for one in mail.attachments] == ["contract.pdf", "smime.p7s"]


def test_what_is_encrypted_is_said() -> None:
    mail = parse((FIXTURES / "smime-enveloped.eml").read_bytes())
    assert (mail.text, mail.protection) == ("[encrypted message: S/MIME]", ("smime-encrypted",))
    assert [one.name for one in mail.attachments] == ["smime.p7m"]


def der(tag: int, content: bytes) -> bytes:
    length = len(content)
    size = (length.bit_length() + 7) // 8
    return (
        bytes([tag])
        + (bytes([length]) if length < 128 else bytes([0x80 | size]) + length.to_bytes(size, "big"))
        + content
    )


def indefinite(tag: int, *content: bytes) -> bytes:
    return bytes([tag, 0x80]) + b"".join(content) + b"\0\0"


SIGNED_DATA, DATA = der(6, bytes.fromhex("2a864886f70d010702")), der(6, bytes.fromhex("2a864886f70d010701"))


def signed(octets: bytes) -> bytes:
    """A SignedData without signers, which is enough for a reader that verifies nothing."""
    content = der(0x30, DATA + (der(0xA0, octets) if octets else b""))
    return der(0x30, SIGNED_DATA + der(0xA0, der(0x30, der(2, b"\1") + der(0x31, b"") + content + der(0x31, b""))))


def smime(data: bytes, kind: str = "application/pkcs7-mime; smime-type=signed-data; name=smime.p7m") -> bytes:
    return (
        HEAD + f"Content-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n\r\n".encode() + base64.encodebytes(data)
    )


@pytest.mark.parametrize(
    "octets",
    [
        der(4, ENTITY),
        der(0x24, der(4, ENTITY[:20]) + der(4, ENTITY[20:])),
        indefinite(0x24, der(4, ENTITY[:20]), indefinite(0x24, der(4, ENTITY[20:]))),
        indefinite(0x24, *[der(4, ENTITY[at : at + 1]) for at in range(len(ENTITY))]),
    ],
)
def test_content_in_pieces(octets: bytes) -> None:
    assert read_cms(signed(octets)) == Cms("smime-signed", ENTITY)


@pytest.mark.parametrize(
    "raw",
    [
        smime(signed(der(4, ENTITY)), "application/x-pkcs7-mime; name=smime.p7m"),
        smime(signed(der(4, ENTITY)), "application/octet-stream; name=SMIME.P7M"),
        smime(signed(der(4, ENTITY)), "application/pkcs7-mime"),
        smime(base64.encodebytes(signed(der(4, ENTITY)))),
        smime(b"-----BEGIN PKCS7-----\n" + base64.encodebytes(signed(der(4, ENTITY))) + b"-----END PKCS7-----\n"),
        smime(signed(der(4, b"MIME-Version: 1.0\r\nSubject: Hidden\r\n and folded\r\n" + ENTITY))),
        smime(signed(der(4, smime(signed(der(4, ENTITY)))))),
    ],
)
def test_ways_to_send_it(raw: bytes) -> None:
    mail = parse(raw)
    assert (mail.text, mail.attachments) == ("Hello, signed.", ())
    assert "smime-signed" in mail.protection


def test_a_list_footer_does_not_hide_it() -> None:
    raw = (
        HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + smime(signed(der(4, ENTITY)))[len(HEAD) :]
    )
    mail = parse(raw + b"--b\r\nContent-Type: text/plain\r\n\r\nThe footer of the list\r\n--b--\r\n")
    assert mail.text == "Hello, signed.\n\nThe footer of the list"


def test_encrypted_inside_of_signed() -> None:
    envelope = der(0x30, der(6, bytes.fromhex("2a864886f70d010703")) + der(0xA0, b""))
    mail = parse(smime(signed(der(4, smime(envelope, "application/pkcs7-mime; smime-type=enveloped-data")))))
    assert mail.protection == ("smime-signed", "smime-encrypted")
    assert mail.text == "[encrypted message: S/MIME]"


def test_attachments_deep_inside_are_read_back() -> None:
    part = b"Content-Type: application/pdf; name=%b\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERg==\r\n"
    raw = smime(signed(der(4, smime(signed(der(4, part % b"deep.pdf")))[len(HEAD) :])))
    (one,) = parse(raw).attachments
    assert (one.name, one.container, len(one.inner)) == ("deep.pdf", "smime/smime", 2)
    assert content_of(one, raw[one.offset : one.offset + one.length]) == b"%PDF"


def test_a_signed_document_is_a_file() -> None:
    """Italian invoices: fattura.xml.p7m holds no mail."""
    raw = smime(signed(der(4, b"<?xml version='1.0'?>")), "application/pkcs7-mime; name=invoice.xml.p7m")
    mail = parse(raw)
    assert [one.name for one in mail.attachments] == ["invoice.xml.p7m"]
    assert (mail.text, mail.protection) == ("", ())


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"broken", "[signed message that cannot be read: S/MIME]"),
        (signed(b""), "[signed message that cannot be read: S/MIME]"),
        (signed(der(4, b"no entity")), "[signed message that cannot be read: S/MIME]"),
    ],
)
def test_what_cannot_be_opened_is_said_and_kept(data: bytes, text: str) -> None:
    mail = parse(smime(data))
    assert (mail.text, mail.protection) == (text, ("smime-signed",))
    assert "smime-unreadable" in mail.defects
    assert [one.name for one in mail.attachments] == ["smime.p7m"]


def multipart(kind: bytes, *parts: bytes) -> bytes:
    return (
        HEAD
        + b"Content-Type: "
        + kind
        + b"; boundary=b\r\n\r\n"
        + b"".join(b"--b\r\n" + one + b"\r\n" for one in parts)
        + b"--b--"
    )


ARMOR = b"-----BEGIN PGP MESSAGE-----\r\n\r\nhQEMA\r\n=abcd\r\n-----END PGP MESSAGE-----\r\n"
CONTROL = b"Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n"
SECRET = b"Content-Type: application/octet-stream; name=encrypted.asc\r\n\r\n" + ARMOR
CLEAR = b"-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\nHello\r\n-----BEGIN PGP SIGNATURE-----\r\n"


PGP_SIGNATURE = b"Content-Type: application/pgp-signature\r\n\r\nx"
SMIME_SIGNATURE = b"Content-Type: application/x-pkcs7-signature\r\n\r\nx"
ENCRYPTED = b'multipart/encrypted; protocol="application/pgp-encrypted"'
SIGNED = b'multipart/signed; protocol="application/pgp-signature"'


@pytest.mark.parametrize(
    ("raw", "protection", "text"),
    [
        (multipart(ENCRYPTED, CONTROL, SECRET), "pgp-encrypted", "[encrypted message: PGP]"),
        (multipart(b"multipart/encrypted", SECRET), "pgp-encrypted", "[encrypted message: PGP]"),
        (multipart(b"multipart/mixed", CONTROL, SECRET), "pgp-encrypted", "[encrypted message: PGP]"),
        (multipart(SIGNED, ENTITY, PGP_SIGNATURE), "pgp-signed", "Hello, signed."),
        (multipart(b"multipart/signed", ENTITY, SMIME_SIGNATURE), "smime-signed", "Hello, signed."),
        (HEAD + b"\r\n" + ARMOR, "pgp-encrypted", ARMOR.decode().replace("\r\n", "\n").strip()),
        (HEAD + b"\r\n" + CLEAR, "pgp-signed", CLEAR.decode().replace("\r\n", "\n").strip()),
    ],
)
def test_pgp(raw: bytes, protection: str, text: str) -> None:
    mail = parse(raw)
    assert (mail.protection, mail.text) == ((protection,), text)


@pytest.mark.parametrize(
    "text", [b"> " + ARMOR, b"-----BEGIN PGP PUBLIC KEY BLOCK-----\r\n", b"I wrote -----BEGIN PGP MESSAGE-----"]
)
def test_what_only_speaks_of_pgp(text: bytes) -> None:
    assert parse(HEAD + b"\r\n" + text).protection == ()


def test_depth_is_bounded() -> None:
    raw = ENTITY
    for _ in range(20):
        raw = smime(signed(der(4, raw)))[len(HEAD) :]
    mail = parse(HEAD + raw)
    assert [one.container for one in mail.attachments] == ["/".join(["smime"] * Limits().container_depth_max)]


@pytest.mark.parametrize(
    "data",
    [
        b"\x30\x80" * 500_000,
        b"\x30\x88" + b"\xff" * 500,
        SIGNED_DATA[:1] * 90,
        signed(b"\x24\x80" * 500_000),
        signed(indefinite(0x24, b"\x04\x00" * 1_000_000)),
        der(0x30, SIGNED_DATA + b"\xa0\x80\x30\x80" + b"\x31\x80" * 100_000),
    ],
)
def test_a_signature_that_was_made_to_hurt(data: bytes) -> None:
    begun = time.process_time()
    assert read_cms(data).content == b""
    assert time.process_time() - begun < 1


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_reading_is_total(data: st.DataObject) -> None:
    whole = bytearray(signed(indefinite(0x24, der(4, ENTITY[:20]), der(4, ENTITY[20:]))))
    for at, value in data.draw(
        st.dictionaries(st.integers(0, len(whole) - 1), st.integers(0, 255), max_size=5)
    ).items():
        whole[at] = value
    damaged = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    assert len(read_cms(damaged).content) <= len(damaged)
