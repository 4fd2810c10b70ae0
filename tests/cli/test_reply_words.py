"""What `ticket reply` is given, and why a reply was not sent, in words for people."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import click
import pytest

from ingestd.cli.reply_words import inline_image
from ingestd.desk import ReplyView
from ingestd.outbound.telling import why
from storage.outbox import ReplyStatus


def view(status: ReplyStatus, reason: str | None, *enhanced_codes: str) -> ReplyView:
    reply = SimpleNamespace(status=status, reason=reason)
    attempts = [SimpleNamespace(enhanced_code=code) for code in enhanced_codes]
    return cast("ReplyView", SimpleNamespace(reply=reply, attempts=attempts))


def test_a_server_without_smtputf8_is_named() -> None:
    assert "SMTPUTF8" in why(view(ReplyStatus.FAILED, "refused_at_mail", "4.0.0", "5.6.7"))
    assert why(view(ReplyStatus.FAILED, "refused_at_mail", "5.6.7", "5.7.1")) == "refused at mail"
    assert why(view(ReplyStatus.QUEUED, None)) == ""


@pytest.mark.parametrize(
    ("file", "option", "cid", "content_type"),
    [
        ("logo.png", "logo.png", "logo.png", "image/png"),
        ("logo.png", "logo.png:x", "x", "image/png"),
        ("a:b é.jpg", "a:b é.jpg", "a-b-.jpg", "image/jpeg"),
        ("a:b.gif", "a:b.gif:c", "c", "image/gif"),
        ("unknown", "unknown", "unknown", "application/octet-stream"),
    ],
)
def test_an_image_is_named_by_its_file_or_as_it_is_said(
    tmp_path: Path, file: str, option: str, cid: str, content_type: str
) -> None:
    (tmp_path / file).write_bytes(b"x")
    image = inline_image(str(tmp_path / option), 10)
    assert (image.cid, image.name, image.content_type, image.content) == (cid, file, content_type, b"x")


def test_an_image_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(click.BadParameter, match="there is no file"):
        inline_image(str(tmp_path / "x.png:y"), 10)
