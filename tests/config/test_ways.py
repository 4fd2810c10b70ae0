"""One line chooses between a provider's API and its mail servers; the scopes follow from it."""

from __future__ import annotations

import pytest

from config import Provider
from tests.config.conftest import Load, Problems

APP = "client_id: x, client_secret: y"
GRAPH = "https://graph.microsoft.com"
MODIFY = "https://www.googleapis.com/auth/gmail.modify"


def provider(load_text: Load, kind: str, more: str = "", oauth: str = "") -> Provider:
    text = f"providers: {{p: {{kind: {kind}, {more}oauth: {{{oauth}{APP}}}}}}}\n"
    return load_text(text).provider("p")


def test_gmail_by_its_api(load_text: Load) -> None:
    by_servers, by_api = provider(load_text, "google"), provider(load_text, "google", "ways: api, ")
    assert (by_servers.read_by, by_servers.send_by) == (("imap", "gmail"), ("smtp", "gmail"))
    assert provider(load_text, "google", "ways: imap, ") == by_servers
    # Grants from before go on to be good.
    assert (by_api.read_by, by_api.send_by) == (("gmail", "imap"), ("gmail", "smtp"))
    assert (by_api.oauth.scopes, by_api.oauth.scopes_needed) == (("openid", "email", MODIFY), (MODIFY,))


@pytest.mark.parametrize(
    ("more", "oauth", "reading", "scopes"),
    [
        ("ways: imap, ", "", ("imap", "graph"), ["https://outlook.office.com/IMAP.AccessAsUser.All"]),
        ("ways: api, ", "", ("graph", "imap"), [f"{GRAPH}/Mail.ReadWrite", f"{GRAPH}/Mail.Send"]),
        ("shared_mailboxes: true, ", "", ("graph", "imap"), [f"{GRAPH}/Mail.ReadWrite.Shared"]),
        (
            "graph_url: https://graph.example.com/v1.0, ways: api, ",
            "",
            ("graph", "imap"),
            ["https://graph.example.com"],
        ),
        (
            "",
            "flow: application, tenant: example.com, mailboxes: {support@example.com: '*'}, ",
            ("graph", "imap"),
            [f"{GRAPH}/.default"],
        ),
        ("ways: api, read_by: [imap], ", "scopes: [mine], ", ("imap",), ["mine"]),
    ],
)
def test_microsoft(load_text: Load, more: str, oauth: str, reading: tuple[str, ...], scopes: list[str]) -> None:
    chosen = provider(load_text, "microsoft", more, oauth)
    assert chosen.read_by == reading
    assert all(asked.startswith(one) for asked, one in zip(chosen.oauth.scopes, scopes, strict=False))


def test_who_may_link_a_mailbox_of_an_organisation(load_text: Load) -> None:
    account = "01890A5D-AC96-774B-BCCE-B302099A8057"
    named = f"mailboxes: {{support@example.com: '*', sales@example.com: {account}}}"
    chosen = provider(load_text, "microsoft", oauth=f"flow: application, tenant: example.com, {named}, ")
    assert chosen.removal_page == "https://entra.microsoft.com"
    assert chosen.oauth.opens("Support@Example.com", "any")
    assert chosen.oauth.opens("sales@example.com", account.lower())
    assert not chosen.oauth.opens("sales@example.com", "any")
    assert not chosen.oauth.opens("other@example.com", account.lower())


@pytest.mark.parametrize(
    ("more", "oauth", "said"),
    [
        ("", "flow: application, tenant: example.com", "flow application and mailboxes go together"),
        ("", "mailboxes: {support@example.com: '*'}", "flow application and mailboxes go together"),
        ("", "flow: application, mailboxes: {support@example.com: '*'}", "set tenant to its GUID or domain"),
        ("", "flow: application, tenant: example.com, mailboxes: {support: '*'}", "must be a mailbox's address"),
        ("", "flow: application, tenant: example.com, mailboxes: {a@example.com: me}", "must be an account's id, or *"),
        (
            "",
            "flow: application, tenant: example.com, mailboxes: {a@example.com: '*', A@example.com: '*'}",
            "an address is named twice",
        ),
        ("ways: imap, shared_mailboxes: true, ", "", "shared mailboxes are by Graph"),
    ],
)
def test_what_does_not_go_together(problems: Problems, more: str, oauth: str, said: str) -> None:
    found = problems(f"providers: {{p: {{kind: microsoft, {more}oauth: {{{APP}, {oauth}}}}}}}\n")
    assert any(said in one for one in found), found


def test_application_permissions_are_microsofts_alone_and_want_a_secret(problems: Problems) -> None:
    oauth = "client_id: x, flow: application, tenant: example.com, mailboxes: {a@example.com: '*'}"
    (found,) = problems(f"providers: {{p: {{kind: google, oauth: {{client_secret: y, {oauth}}}}}}}\n")
    assert "for kind microsoft" in found
    (found,) = problems(f"providers: {{p: {{kind: microsoft, oauth: {{{oauth}}}}}}}\n")
    assert "needs client_secret or client_certificate" in found


def test_a_certificate_is_in_place_of_a_secret(load_text: Load, problems: Problems) -> None:
    pem = "-----BEGIN CERTIFICATE-----x-----BEGIN PRIVATE KEY-----x"
    text = "providers: {{p: {{kind: microsoft, oauth: {{client_id: x, client_certificate: '{}'{}}}}}}}\n"
    assert load_text(text.format(pem, "")).provider("p").oauth.client_certificate is not None
    (found,) = problems(text.format("hunter2", ""))
    assert "must hold a certificate and its private key" in found
    assert "hunter2" not in found
    (found,) = problems(text.format(pem, ", client_secret: y"))
    assert "in place of client_secret" in found
