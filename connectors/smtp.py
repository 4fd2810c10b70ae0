"""Sending by SMTP submission.

Theory of operation. Up to the final dot nothing was sent, whatever happens; from the
moment that the dot may have left us, only the server's reply tells (RFC 1047). So
the body goes out first and the dot by itself afterwards, and every loss is
attributed to the side of the dot on which it was noticed:

    connect, auth → exceptions (nothing was sent)
    mail, rcpt, data (until the dot is written) → REFUSED or DEFERRED
    dot (written, no reply) → UNKNOWN; a reply decides: ACCEPTED, REFUSED, DEFERRED
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import ssl
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol, normalize_message_line_endings
from aiosmtplib.response import SMTPResponse

from connectors import sasl
from connectors.base import (
    AuthError,
    Envelope,
    FiledCopy,
    PermanentError,
    Refusal,
    SendOutcome,
    SendStatus,
    StillOurs,
    TemporaryError,
    TokenSource,
    Trouble,
    always,
)
from connectors.egress import dial
from connectors.idle_timer import IdleTimer
from connectors.imap_access import ImapAccess
from connectors.imap_sent import SentFolder
from connectors.imap_session import ImapTools
from connectors.smtp_outcome import enhanced_code, login_refusal, refusal

_CHUNK = 32 * 1024
_AUTH_LINE_MAX = 500
"""RFC 5321 §4.5.3.1.4 allows command lines of 512 bytes; a longer token goes on its own line (RFC 4954 §4)."""
_ANSWERS_SECONDS = 2.0
"""For so long after its last answer a connection is not asked whether it is still there."""
_LEADING_DOT = re.compile(rb"(?m)^\.")
_HEADER_END = re.compile(rb"\r\n\r\n")


class SmtpSender:
    """A `Sender` over SMTP, with the Sent folder over IMAP. Sends one message at a time."""

    def __init__(self, access: ImapAccess, token_source: TokenSource, tools: ImapTools) -> None:
        self._access = access
        self._token_source = token_source
        self._tools = tools
        self._smtp: aiosmtplib.SMTP | None = None
        self._renew_at = math.inf
        self._is_clean = False
        """Whether nothing of a mail is left over on the connection."""
        self._answered_at = -math.inf
        self._lock = asyncio.Lock()
        self._idle = IdleTimer(access.connection_idle_seconds, self.hang_up)
        self._sent = SentFolder(access, token_source, tools)
        self._where = f"{access.smtp.host}:{access.smtp.port}"

    async def send(self, envelope: Envelope, content: bytes, *, still_ours: StillOurs = always) -> SendOutcome:
        """Make one attempt; see `Sender.send`. Raises ValueError for an envelope that no server can take."""
        _check_envelope(envelope)
        async with self._lock:
            self._idle.stop()
            try:
                smtp, is_kept = await self._ready()
                outcome = await self._transaction(smtp, envelope, content, still_ours)
                if is_kept and outcome.stage == "mail" and outcome.code is None:
                    # It had been closed since the mail before: that says nothing about this one.
                    self._drop()
                    smtp, _ = await self._ready()
                    outcome = await self._transaction(smtp, envelope, content, still_ours)
            except BaseException:
                # Cancelled inside a dialogue, the connection would carry on with the wrong answers.
                self._drop()
                raise
            if outcome.status is SendStatus.UNKNOWN or outcome.stage == "data" or outcome.code == 421:
                self._drop()
            self._is_clean = outcome.status is SendStatus.ACCEPTED  # which ends the transaction (RFC 5321 §4.1.1.4)
            self._answered_at = time.monotonic()
            self._idle.start()
            return outcome

    async def find_in_sent(self, message_id: str, token: str) -> Sequence[FiledCopy]:
        return await self._sent.find(message_id, token)

    async def file_in_sent(self, content: bytes, sent_at: datetime) -> FiledCopy:
        return await self._sent.file(content, sent_at)

    async def hang_up(self) -> None:
        self._idle.stop()
        async with self._lock:
            await self._say_goodbye()

    async def close(self) -> None:
        await self.hang_up()
        await self._sent.close()

    async def _ready(self) -> tuple[aiosmtplib.SMTP, bool]:
        """Return an authenticated connection, and whether it is the kept one: if that still answers, else a new one."""
        if self._smtp is not None and self._smtp.is_connected and time.monotonic() >= self._renew_at:
            await self._say_goodbye()
        if self._smtp is not None and self._smtp.is_connected:
            if self._is_clean and time.monotonic() < self._answered_at + _ANSWERS_SECONDS:
                return self._smtp, True
            try:
                await self._smtp.rset(timeout=self._access.smtp_connect_seconds)
            except (aiosmtplib.SMTPException, OSError):
                self._drop()
            else:
                return self._smtp, True
        self._drop()
        token = await self._token_source()
        try:
            self._smtp = await self._connect(token.value)
        except AuthError:
            token = await self._token_source(rejected=token.value)
            self._smtp = await self._connect(token.value)
        self._renew_at = time.monotonic() + self._access.lasts_seconds(token, datetime.now(UTC))
        return self._smtp, False

    async def _connect(self, token: str) -> aiosmtplib.SMTP:
        access, endpoint = self._access, self._access.smtp
        sock = await dial(self._tools.guard, endpoint.host, endpoint.port, connect_seconds=access.smtp_connect_seconds)
        smtp = aiosmtplib.SMTP(
            hostname=endpoint.host,
            sock=sock,
            local_hostname=access.helo_name,
            timeout=access.smtp_command_seconds,
            use_tls=endpoint.tls == "implicit",
            # Never left to aiosmtplib, whose default is opportunistic: it is done below, or nothing is.
            start_tls=False,
            tls_context=self._tools.ssl_context,
        )
        # From here on asyncio owns the socket, also where connect() fails.
        stage = "connect"
        try:
            await smtp.connect()
            await self._secure(smtp)
            stage = "auth"
            await self._authenticate(smtp, token)
        except aiosmtplib.SMTPResponseException as error:
            _abort(smtp)
            raise login_refusal(stage, error.code, error.message, self._where) from None
        except (aiosmtplib.SMTPException, OSError) as error:
            _abort(smtp)
            if _is_certificate_error(error):
                raise PermanentError(
                    f"{self._where}: certificate not accepted", trouble=Trouble.ADMIN_BLOCKED
                ) from None
            raise TemporaryError(f"{stage} at {self._where}: connection lost") from None
        except BaseException:
            _abort(smtp)
            raise
        return smtp

    async def _secure(self, smtp: aiosmtplib.SMTP) -> None:
        """EHLO under TLS; before STARTTLS nothing is told and nothing that is learned is kept (RFC 3207 §4.2)."""
        await smtp.ehlo()
        if self._access.smtp.tls == "starttls":
            if not smtp.supports_extension("starttls"):
                raise PermanentError(f"{self._where} offers no STARTTLS")
            await smtp.starttls()
            await smtp.ehlo()

    async def _authenticate(self, smtp: aiosmtplib.SMTP, token: str) -> None:
        endpoint = self._access.smtp
        mechanism = sasl.choose_mechanism(smtp.server_auth_methods, self._access.mechanisms)
        if mechanism is None:
            raise PermanentError(f"{self._where} does not offer {' or '.join(self._access.mechanisms)}")
        first = sasl.encode(
            sasl.initial_response(
                mechanism, login=self._access.login, token=token, host=endpoint.host, port=endpoint.port
            )
        )
        name = mechanism.encode()
        if len(first) + len(name) < _AUTH_LINE_MAX:
            reply = await smtp.execute_command(b"AUTH", name, first)
        else:
            reply = await smtp.execute_command(b"AUTH", name)
            if reply.code == 334:
                reply = await smtp.execute_command(first)
        if reply.code == 334:
            # The error challenge must be answered before the server says no (RFC 7628 §3.2.3).
            reply = await smtp.execute_command(sasl.encode(sasl.error_answer(mechanism)))
        if reply.code != 235:
            raise login_refusal("auth", reply.code, reply.message, self._where)

    async def _transaction(
        self, smtp: aiosmtplib.SMTP, envelope: Envelope, content: bytes, still_ours: StillOurs
    ) -> SendOutcome:
        stage = "mail"
        try:
            options, outcome = _mail_options(smtp, envelope, content)
            if outcome is not None:
                return outcome
            encoding = "utf-8" if "SMTPUTF8" in options else "ascii"
            await _name(smtp, b"MAIL", b"FROM", envelope.sender.encode(encoding), options)
            stage = "rcpt"
            refused, outcome = await _recipients(smtp, envelope, encoding)
            if outcome is not None:
                return outcome
            stage = "data"
            return await self._data(smtp, content, refused, still_ours)
        except aiosmtplib.SMTPResponseException as error:
            return refusal(stage, error.code, error.message)
        except (aiosmtplib.SMTPException, OSError):
            self._drop()
            return SendOutcome(SendStatus.DEFERRED, stage)

    async def _data(
        self, smtp: aiosmtplib.SMTP, content: bytes, refused: dict[str, Refusal], still_ours: StillOurs
    ) -> SendOutcome:
        protocol = smtp.protocol
        if protocol is None:
            return SendOutcome(SendStatus.DEFERRED, "data", refused_recipients=refused)
        start = await smtp.execute_command(b"DATA")
        if start.code != 354:
            return refusal("data", start.code, start.message, refused)
        # Armed before the body leaves: a server may refuse or close in the middle of it.
        reply = asyncio.ensure_future(protocol.read_response(timeout=None))
        # Its error is looked at here or not at all; the loop need not complain.
        reply.add_done_callback(lambda task: None if task.cancelled() else task.exception())
        try:
            early = await self._write_body(protocol, content, reply)
            if early is not None:
                if 400 <= early.code < 600:
                    return refusal("data", early.code, early.message, refused)
                return SendOutcome(SendStatus.DEFERRED, "data", code=early.code, refused_recipients=refused)
            if not await still_ours():
                # Without the dot nothing was sent; `send` drops the connection.
                reply.cancel()
                return SendOutcome(SendStatus.DEFERRED, "data", refused_recipients=refused)
            protocol.write(b".\r\n")
        except (aiosmtplib.SMTPException, OSError):
            reply.cancel()
            return SendOutcome(SendStatus.DEFERRED, "data", refused_recipients=refused)
        except BaseException:
            reply.cancel()
            raise
        return await self._after_dot(reply, refused)

    async def _write_body(
        self, protocol: SMTPProtocol, content: bytes, reply: asyncio.Future[SMTPResponse]
    ) -> SMTPResponse | None:
        """Write everything but the dot; return the server's reply if it came already.

        Raises SMTPException or OSError on a loss or a stall: the dot is not out yet.
        """
        body = _LEADING_DOT.sub(b"..", normalize_message_line_endings(content))
        for at in range(0, len(body), _CHUNK):
            protocol.write(body[at : at + _CHUNK])
            async with asyncio.timeout(self._access.smtp_command_seconds):
                await protocol._drain_helper()
            # Lets the loop deliver what the server said, or that it is gone.
            await asyncio.sleep(0)
            if reply.done():
                return reply.result()
        return None

    async def _after_dot(self, reply: asyncio.Future[SMTPResponse], refused: dict[str, Refusal]) -> SendOutcome:
        try:
            async with asyncio.timeout(self._access.dot_seconds):
                answer = await reply
        except (aiosmtplib.SMTPException, OSError):
            return SendOutcome(SendStatus.UNKNOWN, "dot", refused_recipients=refused)
        if 200 <= answer.code < 300:
            return SendOutcome(
                SendStatus.ACCEPTED,
                "dot",
                code=answer.code,
                enhanced_code=refusal("dot", answer.code, answer.message).enhanced_code,
                refused_recipients=refused,
            )
        if 400 <= answer.code < 600:
            return refusal("dot", answer.code, answer.message, refused)
        # Neither yes nor no (aiosmtplib gives -1 for a malformed line).
        return SendOutcome(SendStatus.UNKNOWN, "dot", code=answer.code, refused_recipients=refused)

    def _drop(self) -> None:
        smtp, self._smtp = self._smtp, None
        if smtp is not None:
            _abort(smtp)

    async def _say_goodbye(self) -> None:
        smtp, self._smtp = self._smtp, None
        if smtp is None or not smtp.is_connected:
            return
        transport = smtp.transport  # quit() lets go of it, and leaves TLS's goodbye to be waited for
        with contextlib.suppress(aiosmtplib.SMTPException, OSError):
            await smtp.quit(timeout=2)
        _abort(smtp, transport)


def _mail_options(smtp: aiosmtplib.SMTP, envelope: Envelope, content: bytes) -> tuple[list[str], SendOutcome | None]:
    """Return MAIL's parameters, or the outcome where the server cannot take this message at all."""
    options = []
    if smtp.supports_extension("size"):
        limit = smtp.esmtp_extensions.get("size", "").split()
        if limit and limit[0].isdigit() and 0 < int(limit[0]) < len(content):
            return [], SendOutcome(SendStatus.REFUSED, "mail", code=552, enhanced_code="5.3.4")
        options.append(f"SIZE={len(content)}")
    header = content[: found.start()] if (found := _HEADER_END.search(content)) else content
    if not header.isascii() or not all(a.isascii() for a in (envelope.sender, *envelope.recipients)):
        if not smtp.supports_extension("smtputf8"):
            # RFC 6531 §3.2: such a message must not be sent there; the codes are its own (§3.5).
            return [], SendOutcome(SendStatus.REFUSED, "mail", code=550, enhanced_code="5.6.7")
        options.append("SMTPUTF8")
    if not content.isascii() and smtp.supports_extension("8bitmime"):
        options.append("BODY=8BITMIME")
    if envelope.envelope_id and smtp.supports_extension("dsn"):
        # Reports then name the message, and return its header, whatever else they leave out (RFC 3461 §4.3, §4.4).
        options += ["RET=HDRS", f"ENVID={envelope.envelope_id}"]
    return options, None


async def _name(smtp: aiosmtplib.SMTP, verb: bytes, place: bytes, address: bytes, options: Sequence[str] = ()) -> None:
    """Name the sender or a recipient (RFC 5321 §4.1.1.2, §4.1.1.3). Raises SMTPResponseException where it is refused.

    aiosmtplib's mail() and rcpt() take the address for a header's and parse it, which costs more than the rest of them.
    """
    answer = await smtp.execute_command(verb, b"%s:<%s>" % (place, address), *(one.encode("ascii") for one in options))
    if answer.code not in (250, 251):  # 251: forwarded (§3.4)
        raise aiosmtplib.SMTPResponseException(answer.code, answer.message)


async def _recipients(
    smtp: aiosmtplib.SMTP, envelope: Envelope, encoding: str
) -> tuple[dict[str, Refusal], SendOutcome | None]:
    """Offer every recipient; return the refused ones, and the outcome where none was accepted."""
    refused: dict[str, Refusal] = {}
    last = (550, "")
    for recipient in envelope.recipients:
        try:
            await _name(smtp, b"RCPT", b"TO", recipient.encode(encoding))
        except aiosmtplib.SMTPResponseException as error:
            refused[recipient] = Refusal(error.code, enhanced_code(error.message))
            # 421 ends the connection; of several refusals a passing one decides, for it can be tried again.
            if error.code == 421:
                return refused, refusal("rcpt", error.code, error.message, refused)
            last = min(last, (error.code, error.message)) if len(refused) > 1 else (error.code, error.message)
    if len(refused) == len(set(envelope.recipients)):
        return refused, refusal("rcpt", last[0], last[1], refused)
    return refused, None


def _check_envelope(envelope: Envelope) -> None:
    if not envelope.recipients:
        raise ValueError("an envelope without recipients")
    for address in (envelope.sender, *envelope.recipients):
        if not address or any(char in "<> " or ord(char) < 0x20 or ord(char) == 0x7F for char in address):
            raise ValueError("an envelope with an address that cannot be sent")
    if envelope.envelope_id and not (envelope.envelope_id.isascii() and envelope.envelope_id.isalnum()):
        raise ValueError("an envelope with an id that cannot be sent")


def _abort(smtp: aiosmtplib.SMTP, transport: asyncio.BaseTransport | None = None) -> None:
    """Close without TLS's goodbye: a peer that does not answer it would keep the socket open for half a minute."""
    transport = transport or smtp.transport
    smtp.close()
    if transport is not None:
        transport.abort()  # type: ignore[attr-defined]


def _is_certificate_error(error: BaseException | None) -> bool:
    """aiosmtplib hides what went wrong in TLS behind an error of its own."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
