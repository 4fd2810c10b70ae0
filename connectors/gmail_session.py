"""Calls to the Gmail API for one mailbox: its token, its budget, its connection, and batches.

Google's library blocks, so a call runs in a thread of the pool; waiting for units or for the next poll costs none.
One service object serves the whole process; what belongs to a mailbox is its own HTTP client, which one call uses at
a time, so that no answer can be another mailbox's.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, TypeVar

import googleapiclient.errors
import httplib2
from googleapiclient.discovery import build_from_document

from connectors.base import (
    AccessToken,
    AuthError,
    ConnectorError,
    PermanentError,
    RateLimited,
    TemporaryError,
    TokenSource,
    Trouble,
)
from connectors.egress import EgressGuard
from connectors.gmail_access import ROOT_URL, UNITS, GmailAccess
from connectors.gmail_batch import BOUNDARY, decode_batch, encode_batch
from connectors.gmail_errors import NotThere, refusal
from connectors.gmail_http import RESPONSE_BYTES_MAX, LastByte, NotOurs, OneTryHttp
from connectors.gmail_quota import Quotas, Urgency

T = TypeVar("T")
_RESOLVED_SECONDS = 60.0
"""For so long the addresses of the server are used for new connections."""
_TOKEN_MARGIN_SECONDS = 60.0
_PART_ATTEMPTS_MAX = 3
_PART_PAUSE_SECONDS = 0.1
_PART_WAIT_SECONDS_MAX = 5.0
"""Parts that are to wait for longer make the whole reading wait."""
_LARGE_AT_ONCE = 2
_BROKEN = (ValueError, KeyError, TypeError, AttributeError, IndexError)
"""What the library raises on broken answers."""


class GmailApi:
    """The service object, and what of it is dear to make: once a process."""

    def __init__(self, root_url: str = ROOT_URL) -> None:
        """`root_url` ends with a slash. Everything goes there: calls, batches and uploads."""
        if not root_url.endswith("/"):
            raise ValueError("a root URL ends with a slash")
        self.root_url = root_url
        documents = resources.files("googleapiclient.discovery_cache") / "documents"
        document = json.loads((documents / "gmail.v1.json").read_bytes())
        document.update(rootUrl=root_url, baseUrl=root_url)
        document.pop("mtlsRootUrl", None)
        # Without an HTTP client the library would look for credentials of the machine.
        service = build_from_document(document, http=httplib2.Http(proxy_info=None))
        self.batch_url = root_url + str(document.get("batchPath", "batch"))
        self.users: Any = service.users()
        self.messages: Any = self.users.messages()
        self.history: Any = self.users.history()
        self.labels: Any = self.users.labels()


@dataclass(frozen=True, slots=True)
class GmailTools:
    """What the mailboxes of a process share."""

    ssl_context: ssl.SSLContext
    guard: EgressGuard
    executor: Executor
    """Its threads are how many calls are under way at once; for this alone, and not asyncio's own pool."""
    api: GmailApi
    quotas: Quotas
    large: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_LARGE_AT_ONCE))
    """Large messages that are in memory at the same time: each is there several times over while it is read."""


class GmailSession:
    """Used by one mailbox's reader or sender. Opens its connection at first use and again after a loss."""

    def __init__(self, access: GmailAccess, token_source: TokenSource, tools: GmailTools) -> None:
        self.access = access
        self.tools = tools
        self.api = tools.api
        self._token_source = token_source
        self._bucket = tools.quotas.of(access.login)
        self._token: AccessToken | None = None
        self._token_until = 0.0
        self._http: OneTryHttp | None = None
        self._resolved_at = -_RESOLVED_SECONDS
        self._lock = asyncio.Lock()

    async def call(
        self,
        method: str,
        request: Any,
        urgency: Urgency,
        *,
        response_bytes_max: int = RESPONSE_BYTES_MAX,
        repeatable: bool = True,
        last_byte: LastByte | None = None,
    ) -> dict[str, Any]:
        """Make a call and return its answer; `method` names it in UNITS.

        A refused token is renewed once. Raises NotOurs where `last_byte` kept it; AuthError, RateLimited,
        TemporaryError (NotThere, ResponseTooLarge), PermanentError (BadArgument, ScopeMissing).
        """

        def work(http: OneTryHttp) -> dict[str, Any]:
            http.response_bytes_max, http.repeatable, http.last_byte = response_bytes_max, repeatable, last_byte
            found = request.execute(http=http, num_retries=0)
            return found if isinstance(found, dict) else {}

        return await self._with_token(method, UNITS[method], urgency, work)

    async def batch(
        self, method: str, requests: Mapping[str, Any], urgency: Urgency, *, response_bytes_max: int
    ) -> dict[str, dict[str, Any] | ConnectorError]:
        """Make many calls in one request, and return each one's answer or what it was refused by.

        Parts that were refused for the moment are asked for again, some times. Raises what concerns all of them.
        """
        done: dict[str, dict[str, Any] | ConnectorError] = {}
        left = dict(requests)
        for attempt in range(1, _PART_ATTEMPTS_MAX + 1):
            answers = await self._batch_once(method, left, urgency, response_bytes_max)
            done.update(answers)
            again = {key: one for key, one in answers.items() if isinstance(one, ConnectorError) and _may_pass(one)}
            if not again:
                return done
            worst = max(again.values(), key=_wait_of)
            if attempt == _PART_ATTEMPTS_MAX or _wait_of(worst) > _PART_WAIT_SECONDS_MAX:
                if isinstance(worst, RateLimited):
                    self._bucket.pause(worst.retry_after)
                raise worst
            left = {key: requests[key] for key in again}
            await asyncio.sleep(max(_PART_PAUSE_SECONDS * 2**attempt, _wait_of(worst)))
        return done

    async def _batch_once(
        self, method: str, requests: Mapping[str, Any], urgency: Urgency, response_bytes_max: int
    ) -> dict[str, dict[str, Any] | ConnectorError]:
        def work(http: OneTryHttp) -> dict[str, dict[str, Any] | ConnectorError]:
            http.response_bytes_max, http.repeatable, http.last_byte = response_bytes_max, True, None
            headers = {"content-type": f'multipart/mixed; boundary="{BOUNDARY}"'}
            response, content = http.request(self.api.batch_url, "POST", encode_batch(requests), headers)
            if response.status >= 300:
                raise googleapiclient.errors.HttpError(response, content)
            answers: dict[str, dict[str, Any] | ConnectorError] = {}
            for part in decode_batch(response["content-type"], content):
                if part.status >= 300:
                    answers[part.key] = refusal(method, part.status, part.body, part.headers)
                else:
                    answers[part.key] = part.document()
            if answers.keys() != requests.keys():
                raise ValueError("answers to other calls than those that were made")
            if refused := next((one for one in answers.values() if isinstance(one, AuthError)), None):
                raise refused
            return answers

        return await self._with_token(method, UNITS[method] * len(requests), urgency, work)

    async def close(self) -> None:
        async with self._lock:
            http, self._http = self._http, None
            if http is not None:
                http.close()

    async def _with_token(self, method: str, units: int, urgency: Urgency, work: Callable[[OneTryHttp], T]) -> T:
        rejected: str | None = None
        while True:
            token = await self._current_token(rejected)
            await self.tools.quotas.take(self._bucket, units, urgency)
            try:
                return await self._run(method, token, work)
            except AuthError:
                self._token = None
                if rejected is not None:
                    raise
                rejected = token
            except RateLimited as error:
                self._bucket.pause(error.retry_after)
                raise

    async def _current_token(self, rejected: str | None) -> str:
        if rejected is None and self._token is not None and time.time() < self._token_until:
            return self._token.value
        self._token = await self._token_source(rejected=rejected)
        expires = self._token.expires_at
        self._token_until = time.time() + _RESOLVED_SECONDS
        if expires is not None:
            self._token_until = max(self._token_until, expires.timestamp() - _TOKEN_MARGIN_SECONDS)
        return self._token.value

    async def _run(self, method: str, token: str, work: Callable[[OneTryHttp], T]) -> T:
        async with self._lock:
            client = await self._client()
            client.token = token
            running: Future[T] = self.tools.executor.submit(_guarded, work, client, method)
            try:
                async with asyncio.timeout(self.access.call_seconds):
                    return await asyncio.wrap_future(running)
            except TimeoutError:
                self._discard(client, running)
                raise TemporaryError(f"{method}: no answer in time") from None
            except (ConnectorError, NotOurs):
                raise
            except BaseException:
                # Cancelled in the middle of a call: its answer would be taken for the next one's.
                self._discard(client, running)
                raise

    def _discard(self, client: OneTryHttp, running: Future[Any]) -> None:
        """Let go of a client; its connection is closed once its thread has left it."""
        if self._http is client:
            self._http = None
        client.abort()
        running.add_done_callback(lambda _: client.close())

    async def _client(self) -> OneTryHttp:
        if self._http is None:
            self._http = OneTryHttp(
                self.api.root_url,
                self.tools.guard,
                self.tools.ssl_context,
                connect_seconds=self.access.connect_seconds,
                seconds=self.access.read_seconds,
            )
            self._resolved_at = -_RESOLVED_SECONDS
        client = self._http
        now = time.monotonic()
        if not client.is_connected or now - self._resolved_at >= _RESOLVED_SECONDS:
            client.addresses = await self.tools.guard.resolve(client.host, client.port)
            self._resolved_at = now
        return client


def _guarded(work: Callable[[OneTryHttp], T], client: OneTryHttp, method: str) -> T:
    """Run a call, in its thread, and turn what it raises into our errors."""
    try:
        return work(client)
    except (ConnectorError, NotOurs):
        raise
    except googleapiclient.errors.HttpError as error:
        raise _refused(method, error) from None
    except ssl.SSLCertVerificationError:
        raise PermanentError(f"{method}: certificate not accepted", trouble=Trouble.ADMIN_BLOCKED) from None
    except (OSError, http.client.HTTPException, httplib2.HttpLib2Error):
        raise TemporaryError(f"{method}: connection lost") from None
    except (googleapiclient.errors.Error, *_BROKEN):
        raise TemporaryError(f"{method}: answer broken") from None


def _refused(method: str, error: Any) -> ConnectorError:
    if not isinstance(error, googleapiclient.errors.HttpError):
        return TemporaryError(f"{method}: answer broken")
    content = error.content if isinstance(error.content, bytes) else str(error.content).encode()
    headers = {str(name).lower(): str(value) for name, value in error.resp.items()}
    return refusal(method, int(error.resp.status), content, headers)


def _may_pass(error: ConnectorError) -> bool:
    """Whether a part's answer is a no for the moment."""
    return isinstance(error, (RateLimited, TemporaryError)) and not isinstance(error, NotThere)


def _wait_of(error: ConnectorError) -> float:
    return error.retry_after if isinstance(error, RateLimited) else 0.0


def chunks(found: Sequence[T], size: int) -> list[Sequence[T]]:
    return [found[at : at + size] for at in range(0, len(found), size)]
