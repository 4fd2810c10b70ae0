"""The connectors of a mailbox: its readers and its sender, by the ways that its grant opens."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import UUID

from config import Provider, Settings
from connectors.base import Reader, ReadPlan, Sender
from connectors.gmail_access import GmailAccess
from connectors.graph_limiter import MailboxLimiter
from connectors.graph_mailbox import GraphAccess, Subscriptions, graph_reader, graph_sender, graph_subscriptions
from connectors.imap_mailbox import ImapAccess, ImapEndpoint, SmtpEndpoint, imap_reader, smtp_sender
from ingestd.build.outside import Outside
from ingestd.build.push import GmailPushes
from ingestd.inbound.alerts import note_alerts
from ingestd.inbound.known import KnownMessages
from ingestd.inbound.push import tell_of_failure
from ingestd.linking.keeper import MailboxTokens
from ingestd.linking.ways import Way, Ways, audience
from ingestd.outbound.fallback import FallbackSender
from ingestd.telemetry.metrics import Metrics

_TOLD: Final = "reader"


@dataclass(frozen=True, slots=True)
class Reached:
    """What is needed to reach a mailbox."""

    mailbox_id: UUID
    login: str
    provider: Provider
    ways: Ways
    granted: tuple[str, ...] | None
    """The scopes of its grant; None where they are not known."""
    graph_user: str
    """What Microsoft Graph calls the mailbox; `me` for the own one of who consented."""
    tokens: Callable[[tuple[str, ...] | None], MailboxTokens]
    """Returns the source of tokens for some of them."""
    known: KnownMessages
    """Tells which of its messages are stored."""

    def tokens_for(self, way: Way) -> MailboxTokens:
        return self.tokens(None if self.granted is None else audience(self.provider.kind, way, self.granted))


class Connectors:
    """Builds connectors over the process's shared tools.

    Where a grant opens none of the ways, one is taken all the same, as the server's refusal says what is wrong: IMAP
    and SMTP, but for a provider that they are no ways of.
    """

    def __init__(
        self, settings: Settings, outside: Outside, metrics: Metrics, gmail_pushes: GmailPushes | None = None
    ) -> None:
        """Without `gmail_pushes` nobody tells of news: mailboxes are polled."""
        self._settings = settings
        self._outside = outside
        self._gmail_pushes = gmail_pushes
        self._metrics = metrics
        self._limiters: dict[UUID, MailboxLimiter] = {}

    def reader(self, one: Reached, plan: ReadPlan, *, name: str = _TOLD) -> Reader:
        """Return a reader; two that share a mailbox have different names. The one called "reader" is told of news."""
        way = one.ways.read or _otherwise(Way.IMAP, one.provider.read_by)
        if way is Way.GRAPH:
            return graph_reader(
                self._graph(one),
                one.tokens_for(Way.GRAPH),
                transport=self._outside.graph(one.provider),
                limiter=self._limiter(one.mailbox_id),
                plan=plan,
                name=name,
                known=one.known,
            )
        if way is Way.GMAIL:
            from connectors.gmail_mailbox import gmail_reader  # noqa: PLC0415  # as in Outside.gmail

            is_told = name == _TOLD and self._gmail_pushes is not None
            return gmail_reader(
                self._gmail(one),
                one.tokens_for(Way.GMAIL),
                tools=self._outside.gmail(one.provider),
                plan=plan,
                known=one.known,
                push=self._gmail_pushes.listener(one.provider) if is_told and self._gmail_pushes else None,
                watch_failed=partial(tell_of_failure, self._metrics, "gmail", mailbox_id=one.mailbox_id),
            )
        return imap_reader(
            self._imap(one.login, one.provider),
            one.tokens_for(Way.IMAP),
            ssl_context=self._outside.ssl_context(one.provider),
            guard=self._outside.guard,
            executor=self._outside.executor,
            places=self._outside.imap_places,
            alerted=partial(note_alerts, self._metrics, one.mailbox_id),
            plan=plan,
        )

    def sender(self, one: Reached) -> Sender:
        """Return a sender; where its way is switched off at the provider, it sends by the next one."""
        first = self._sender(one, one.ways.send or _otherwise(Way.SMTP, one.provider.send_by))
        instead = one.ways.send_instead
        return first if instead is None else FallbackSender(first, self._sender(one, instead))

    def _sender(self, one: Reached, way: Way) -> Sender:
        if way is Way.GRAPH:
            return graph_sender(
                self._graph(one),
                one.tokens_for(Way.GRAPH),
                transport=self._outside.graph(one.provider),
                limiter=self._limiter(one.mailbox_id),
            )
        if way is Way.GMAIL:
            from connectors.gmail_mailbox import gmail_sender  # noqa: PLC0415  # as in Outside.gmail

            return gmail_sender(self._gmail(one), one.tokens_for(Way.GMAIL), tools=self._outside.gmail(one.provider))
        return smtp_sender(
            self._imap(one.login, one.provider),
            one.tokens_for(Way.SMTP),
            ssl_context=self._outside.ssl_context(one.provider),
            guard=self._outside.guard,
            executor=self._outside.executor,
            places=self._outside.imap_places,
            alerted=partial(note_alerts, self._metrics, one.mailbox_id),
        )

    def subscriptions(self, one: Reached) -> Subscriptions | None:
        """Return what subscribes to the news of a mailbox; None where it is not read by Graph, or Graph cannot post
        to us."""
        setting, public_url = one.provider.graph_push, self._settings.api.public_url
        may_post = setting == "always" or (setting == "auto" and public_url.startswith("https://"))
        if one.ways.read is not Way.GRAPH or not may_post:
            return None
        return graph_subscriptions(
            self._graph(one),
            one.tokens_for(Way.GRAPH),
            transport=self._outside.graph(one.provider),
            limiter=self._limiter(one.mailbox_id),
        )

    def forget(self, mailbox_id: UUID) -> None:
        """Keep nothing of a mailbox that this process has given up."""
        self._limiters.pop(mailbox_id, None)

    def _limiter(self, mailbox_id: UUID) -> MailboxLimiter:
        """Graph counts the calls of a mailbox together, whoever of us makes them."""
        return self._limiters.setdefault(mailbox_id, MailboxLimiter())

    def _graph(self, one: Reached) -> GraphAccess:
        provider, inbound, outbound = one.provider, self._settings.inbound, self._settings.outbound
        assert provider.graph_url is not None  # or the way would not be allowed
        return GraphAccess(
            base_url=provider.graph_url.rstrip("/"),
            user=one.graph_user,
            role_folders=_role_folders(provider),
            upload_origins=tuple(one.rstrip("/") for one in provider.upload_urls),
            connect_seconds=inbound.connect_timeout_seconds,
            read_seconds=inbound.read_timeout_seconds,
            send_seconds=outbound.dot_timeout_seconds,
            poll_seconds=inbound.poll_seconds,
            poll_seconds_min=min(inbound.api_poll_seconds_min, inbound.poll_seconds),
        )

    def _gmail(self, one: Reached) -> GmailAccess:
        inbound, outbound = self._settings.inbound, self._settings.outbound
        return GmailAccess(
            login=one.login,
            role_folders=_role_folders(one.provider),
            connect_seconds=inbound.connect_timeout_seconds,
            read_seconds=inbound.read_timeout_seconds,
            poll_seconds=inbound.poll_seconds,
            poll_seconds_min=min(inbound.api_poll_seconds_min, inbound.poll_seconds),
            watch_topic=push.topic if (push := one.provider.gmail_push) is not None else "",
            watch_seconds=inbound.push_renew_seconds,
            connection_idle_seconds=outbound.connection_idle_seconds,
        )

    def _imap(self, login: str, provider: Provider) -> ImapAccess:
        inbound, outbound = self._settings.inbound, self._settings.outbound
        return ImapAccess(
            login=login,
            imap=ImapEndpoint(provider.imap.host, provider.imap.port, provider.imap.tls),
            smtp=SmtpEndpoint(provider.smtp.host, provider.smtp.port, provider.smtp.tls),
            role_folders=_role_folders(provider),
            mechanisms=provider.mechanisms,
            session_ends_with_token=provider.session_ends_with_token,
            connect_seconds=inbound.connect_timeout_seconds,
            read_seconds=inbound.read_timeout_seconds,
            smtp_connect_seconds=outbound.connect_timeout_seconds,
            smtp_command_seconds=outbound.command_timeout_seconds,
            dot_seconds=outbound.dot_timeout_seconds,
            idle_renew_seconds=inbound.idle_renew_seconds,
            idle_renew_jitter=inbound.idle_renew_jitter,
            poll_seconds=inbound.poll_seconds,
            idle_poll_seconds=inbound.idle_poll_seconds * random.uniform(0.8, 1.0),  # noqa: S311  (not a secret)
            connection_idle_seconds=outbound.connection_idle_seconds,
        )


def _otherwise(way: Way, configured: Sequence[str]) -> Way:
    """Return a way for a grant that opens none: `way`, or the first that is configured."""
    return way if way in configured else Way(configured[0])


def _role_folders(provider: Provider) -> dict[str, str]:
    """Return the operator's own names of folders, by their role."""
    roles = {"sent": provider.folders.sent, "trash": provider.folders.trash, "junk": provider.folders.spam}
    return {role: folder for role, folder in roles.items() if folder}
