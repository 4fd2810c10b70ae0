"""The demo's third part: mails become tickets, an agent answers, the customer answers back."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from ingestd.demo.mails import (
    ANNA,
    INVOICE_NAME,
    REMOTE_IMAGE,
    SCRIPT,
    SUPPORT,
    Mail,
    answer_to,
    body_text,
    files_of,
    invoice,
    japanese,
    newsletter,
    question,
    read,
)
from ingestd.demo.stage import Opened, Stage
from ingestd.desk import MessageView
from storage.outbox import ReplyStatus, SentCopy

REPLY_TEXT: Final = "Здравствуйте, Анна!\n\nВключите кассу заново: инструкция во вложении."
REPLY_FILE: Final = "Инструкция.pdf"
ANSWER_TEXT: Final = "Спасибо, печатает!"


@dataclass(frozen=True, slots=True)
class Mails:
    """What the customers wrote first."""

    question: Mail
    japanese: Mail
    invoice: Mail
    newsletter: Mail

    @property
    def all(self) -> tuple[Mail, ...]:
        return (self.question, self.japanese, self.invoice, self.newsletter)


@dataclass(frozen=True, slots=True)
class Answer:
    """The agent's reply, as it reached the customer."""

    ticket: int
    message_id: UUID
    received: bytes


async def mails_become_tickets(stage: Stage, look: Opened) -> Mails:
    """Deliver four mails, and show what became of them."""
    teller = stage.teller
    mails = Mails(question(), japanese(), invoice(), newsletter())
    teller.step("Mails come in: Russian in KOI8-R, Japanese in ISO-2022-JP, a PDF, a newsletter")
    began = time.monotonic()
    for mail in mails.all:
        await stage.provider.deliver(SUPPORT, mail.raw)

    async def arrived() -> float | None:
        found = await look.store.desk.tickets(look.account_id)
        return time.monotonic() - began if len(found) >= len(mails.all) else None

    seconds = await stage.until("each mail becomes a ticket", arrived)
    await stage.show("ticket", "list")
    found = [(one.record.requester.addr, one.record.subject) for one in await look.store.desk.tickets(look.account_id)]
    teller.same(
        f"4 mails, 4 tickets, {seconds:.1f} s after the delivery, every subject readable",
        found,
        [(one.sender, one.subject) for one in mails.all],
    )
    await _are_readable(stage, look, mails)
    return mails


async def _are_readable(stage: Stage, look: Opened, mails: Mails) -> None:
    teller = stage.teller
    teller.step("What the customers wrote")
    await stage.show_all(("ticket", "show", 1), ("ticket", "show", 2))
    views = [await look.store.desk.ticket(look.account_id, number) for number in (1, 2, 3, 4)]
    first, second, third, fourth = (one.messages[0] for one in views)
    for claim, message, mail in (
        ("the Russian text is what Anna wrote", first, mails.question),
        ("the Japanese text is what Kenji wrote", second, mails.japanese),
        ("the text beside the PDF is what Pavel wrote", third, mails.invoice),
    ):
        teller.same(claim, message.record.mail.text.split(), mail.text.split())
    shown = fourth.record.mail
    teller.check("the newsletter can be read", mails.newsletter.text in shown.text, found=shown.text)
    harmful = [one for one in (REMOTE_IMAGE, SCRIPT, "<script", "onclick") if one in shown.html]
    teller.same("its script is gone, and its picture reports nobody", harmful, [])
    teller.same("it is marked as bulk mail", fourth.row.kind, "bulk")
    await _attachment_comes_back(stage, third, mails.invoice)


async def _attachment_comes_back(stage: Stage, message: MessageView, mail: Mail) -> None:
    teller = stage.teller
    (known,) = message.attachments
    target = stage.folder / "attachment.pdf"
    await stage.show("ticket", "attachment", 3, message.row.message_id, known.row.position, "--output", target)
    teller.same("the PDF has kept its Russian name", known.attachment.name, INVOICE_NAME)
    found = hashlib.sha256(target.read_bytes()).hexdigest()
    expected = hashlib.sha256(mail.attachment).hexdigest()
    teller.same(f"and it comes back byte for byte (SHA-256 {expected[:16]}…)", found, expected)


async def answer_a_ticket(stage: Stage, look: Opened, mails: Mails) -> Answer:
    """Answer Anna's ticket with a file, and show where the answer lies."""
    teller = stage.teller
    teller.step("An agent answers Anna, with a file")
    file = stage.folder / REPLY_FILE
    file.write_bytes(mails.invoice.attachment)
    output = await stage.show("ticket", "reply", 1, "--text", REPLY_TEXT, "--attach", file)
    message_id = UUID(output.split()[1])

    async def settled() -> bool | None:
        view = await look.store.desk.ticket(look.account_id, 1)
        (reply,) = (one.reply.reply for one in view.messages if one.reply is not None)
        return True if reply.status is ReplyStatus.SENT and reply.sent_copy is SentCopy.FILED else None

    await stage.until("the reply is sent, and its copy is in Sent", settled)
    (received,) = await _inbox_of_anna(stage)
    _reached_the_customer(stage, received, mails.question, file)
    await _one_sent_copy(
        stage, received, "the mailbox's Sent folder holds it exactly once (the provider filed it, ingestd saw that)"
    )
    return Answer(1, message_id, received)


async def _inbox_of_anna(stage: Stage) -> list[bytes]:
    found = await stage.provider.mails(ANNA)
    stage.teller.same("Anna has got one mail", len(found), 1)
    return found


def _reached_the_customer(stage: Stage, received: bytes, asked: Mail, file: Path) -> None:
    teller, mail = stage.teller, read(received)
    teller.note(f"From: {mail['From']}   Subject: {mail['Subject']}")
    teller.note(f"Message-ID: {mail['Message-ID']}")
    teller.same("it reads as the agent wrote it", body_text(mail).split(), REPLY_TEXT.split())
    teller.same(
        "References names Anna's mail, so that her mail program shows one thread", mail["References"], asked.message_id
    )
    teller.same("the file arrived byte for byte, under its name", files_of(mail), [(file.name, file.read_bytes())])


async def _one_sent_copy(stage: Stage, received: bytes, claim: str) -> None:
    copies = await stage.provider.mails(SUPPORT, "Sent")
    wanted = read(received)["Message-ID"]
    same = [one for one in copies if read(one)["Message-ID"] == wanted]
    stage.teller.check(
        claim,
        len(same) == 1 and len(copies) == 1,
        expected="one copy",
        found=f"{len(same)} copies, {len(copies)} mails in Sent",
    )


async def customer_answers_back(stage: Stage, look: Opened, mails: Mails, answer: Answer) -> Mail:
    """Let Anna answer; show that her mail joins the ticket."""
    teller = stage.teller
    teller.step("Anna answers back, quoting")
    back = answer_to(answer.received, ANSWER_TEXT)
    await stage.provider.deliver(SUPPORT, back.raw)

    async def joined() -> bool | None:
        tickets = await look.store.desk.tickets(look.account_id)
        view = await look.store.desk.ticket(look.account_id, answer.ticket)
        return True if len(view.messages) == 3 or len(tickets) > len(mails.all) else None

    await stage.until("her answer is taken in", joined)
    await stage.show("ticket", "show", answer.ticket)
    view = await look.store.desk.ticket(look.account_id, answer.ticket)
    teller.same("it is in the same ticket, as its third message", len(view.messages), 3)
    record = view.messages[-1].record
    teller.note(f"why: {', '.join(record.evidence)}")
    teller.same("what she wrote is told from what she quoted", record.mail.new_text.strip(), ANSWER_TEXT)
    teller.same("there are still 4 tickets", len(await look.store.desk.tickets(look.account_id)), len(mails.all))
    await _one_sent_copy(stage, answer.received, "Sent still holds one copy of the answer")
    return back


async def promises_hold(stage: Stage) -> None:
    """Run the consistency checker."""
    stage.teller.step("The checker looks at every promise")
    ran = await stage.ingestd.run("verify")
    checks = [line for line in ran.output.splitlines() if line.startswith(("ok", "FAIL"))]
    good = [line for line in checks if line.startswith("ok")]
    stage.teller.ran(["verify"], "\n".join([*good[:3], f"… and {len(good) - 3} more"]))
    stage.teller.check(
        f"all {len(checks)} checks are ok", ran.status == 0 and good == checks != [], found=f"\n{ran.output}"
    )
