"""By which way a mailbox is read and sent from."""

from __future__ import annotations

import pytest

from config.presets import PRESETS
from config.providers import resolve
from ingestd.linking.ways import READING, SENDING, Way, Ways, audience, choose, opens_a_way, spelled, ways_of

IMAP, SMTP, GMAIL, GRAPH = Way.IMAP, Way.SMTP, Way.GMAIL, Way.GRAPH
ALL_OF_GMAIL = "https://mail.google.com/"
MODIFY = "https://www.googleapis.com/auth/gmail.modify"
OUTLOOK, AT_GRAPH = "https://outlook.office.com/", "https://graph.microsoft.com/"
CLASSIC = [f"{OUTLOOK}IMAP.AccessAsUser.All", f"{OUTLOOK}SMTP.Send"]
API = ["Mail.ReadWrite", "Mail.Send", "openid", "profile"]


def best(kind: str, granted: list[str] | None, offered: tuple[Way, ...] = tuple(Way)) -> Ways:
    """Choose where APIs are preferred."""
    return choose(kind, granted, read_by=(GMAIL, GRAPH, IMAP), send_by=(GMAIL, GRAPH, SMTP), offered=offered)


@pytest.mark.parametrize(
    ("granted", "ways"),
    [
        ([MODIFY, "openid"], Ways(GMAIL, GMAIL)),
        ([ALL_OF_GMAIL], Ways(GMAIL, GMAIL, SMTP)),
        (["https://www.googleapis.com/auth/gmail.send"], Ways(None, GMAIL)),
        (["openid"], Ways(None, None)),
        (None, Ways(IMAP, SMTP)),
    ],
)
def test_what_a_grant_of_googles_opens(granted: list[str] | None, ways: Ways) -> None:
    assert best("google", granted) == ways


@pytest.mark.parametrize(
    ("granted", "ways"),
    [
        (API, Ways(GRAPH, GRAPH)),
        ([f"{AT_GRAPH}{one}" for one in API[:2]], Ways(GRAPH, GRAPH)),
        (CLASSIC, Ways(IMAP, SMTP)),
        ([*CLASSIC, *API], Ways(GRAPH, GRAPH, SMTP)),
        # A reply is a draft first: Mail.Send alone is not enough.
        (["Mail.Send", *CLASSIC], Ways(IMAP, SMTP)),
        (["Mail.ReadWrite", f"{OUTLOOK}SMTP.Send"], Ways(GRAPH, SMTP)),
        # Graph's permission of that name opens no IMAP, whatever it is called.
        ([f"{AT_GRAPH}IMAP.AccessAsUser.All", f"{AT_GRAPH}SMTP.Send"], Ways(None, None)),
        (None, Ways(IMAP, SMTP)),
    ],
)
def test_what_a_grant_of_microsofts_opens(granted: list[str] | None, ways: Ways) -> None:
    assert best("microsoft", granted) == ways


def test_the_operators_order_decides_and_what_it_leaves_out_is_not_taken() -> None:
    both = [*CLASSIC, *API]
    order = choose("microsoft", both, read_by=(IMAP, GRAPH), send_by=(SMTP, GRAPH), offered=tuple(Way))
    assert order == Ways(IMAP, SMTP, GRAPH)
    assert choose("microsoft", both, read_by=(IMAP,), send_by=(SMTP,), offered=tuple(Way)) == Ways(IMAP, SMTP)
    assert choose("microsoft", API, read_by=(IMAP,), send_by=(SMTP,), offered=tuple(Way)) == Ways(None, None)


def test_a_way_without_a_connector_is_never_chosen() -> None:
    assert best("microsoft", [*CLASSIC, *API], offered=(IMAP, SMTP)) == Ways(IMAP, SMTP)
    assert best("google", [MODIFY], offered=(IMAP, SMTP)) == Ways(None, None)


@pytest.mark.parametrize("kind", ["generic", "yandex", "mailru", "fastmail", "yahoo"])
@pytest.mark.parametrize("granted", [None, [], ["mail:imap_full"]])
def test_elsewhere_the_mail_server_decides(kind: str, granted: list[str] | None) -> None:
    assert best(kind, granted) == Ways(IMAP, SMTP)


@pytest.mark.parametrize("kind", READING)
def test_each_ways_least_grant_opens_it(kind: str) -> None:
    for table, name in ((READING, "read"), (SENDING, "send")):
        for way, enough in table[kind].items():
            for scopes in enough:
                told = [scope.replace("outlook/", OUTLOOK).replace("graph/", AT_GRAPH) for scope in scopes]
                found = choose(kind, told, read_by=(way,), send_by=(way,), offered=(way,))
                assert getattr(found, name) is way


def test_a_token_of_microsofts_is_asked_for_one_resource() -> None:
    both = [*CLASSIC, *API]
    assert audience("microsoft", GRAPH, both) == ("Mail.ReadWrite", "Mail.Send")
    assert audience("microsoft", IMAP, both) == audience("microsoft", SMTP, both) == tuple(CLASSIC)
    assert audience("google", GMAIL, [MODIFY]) is None


@pytest.mark.parametrize(
    "scope", ["https://outlook.office365.us/SMTP.Send", "https://partner.outlook.cn/SMTP.Send", f"{OUTLOOK}smtp.send"]
)
def test_national_clouds_have_other_hosts(scope: str) -> None:
    assert spelled("microsoft", scope) == "outlook/smtp.send"
    assert spelled("generic", scope) == scope


def test_a_mailbox_goes_on_to_be_read_by_the_way_that_it_was_first_read_by() -> None:
    """Whatever the configuration prefers by now; and by no other way where its grant does not open that one."""
    provider = resolve(
        "office",
        PRESETS["microsoft"].model_validate({"kind": "microsoft", "oauth": {"client_id": "c"}}),
        sent_wait_seconds=1,
    )
    both = [*CLASSIC, *API]
    assert ways_of(provider, both) == Ways(GRAPH, GRAPH, SMTP)
    assert ways_of(provider, both, "imap") == Ways(IMAP, GRAPH, SMTP)
    assert ways_of(provider, API, "imap") == Ways(None, GRAPH)
    assert ways_of(provider, CLASSIC) == Ways(IMAP, SMTP)


def test_a_grant_for_imap_lacks_nothing_where_new_ones_are_for_graph() -> None:
    assert opens_a_way("microsoft", "https://graph.microsoft.com/Mail.Send")
    assert not opens_a_way("microsoft", "User.Read")
    assert not opens_a_way("generic", "mail")
