"""Which hosts the daemon contacts, and that a discovery document cannot add one."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import ConfigError, Host, endpoint_allowed, hosts

from .conftest import Load

TEXT = """\
storage:
  database: postgresql://u:p@db.example.com/content
  keystore: postgresql://u:p@db.example.com/keys
providers:
  work:
    kind: generic
    imap: {host: mail.example.com}
    smtp: {host: mail.example.com, port: 465}
    oauth: {client_id: x, issuer: 'https://login.example.com/realm', revoke_url: 'https://login.example.com/revoke'}
  local:
    kind: generic
    imap: {host: '::1'}
    smtp: {host: 127.0.0.1}
    oauth: {client_id: x, issuer: 'http://127.0.0.1:9000'}
egress:
  allow: [Other.example.com, 'one.example.com:8443', '2001:db8::1', '[2001:db8::2]:443']
"""


def test_every_host_is_listed_with_its_reasons(load_text: Load) -> None:
    discovery = "and what its discovery document names on the same host and port"
    assert hosts(load_text(TEXT)) == [
        Host("db.example.com", 5432, "storage.database; storage.keystore"),
        Host("mail.example.com", 993, "providers.work.imap"),
        Host("mail.example.com", 465, "providers.work.smtp"),
        Host(
            "login.example.com",
            443,
            f"providers.work.oauth.issuer, {discovery}; providers.work.oauth.revoke_url",
        ),
        Host("::1", 993, "providers.local.imap"),
        Host("127.0.0.1", 465, "providers.local.smtp"),
        Host("127.0.0.1", 9000, f"providers.local.oauth.issuer, {discovery}"),
        Host("other.example.com", None, "egress.allow"),
        Host("one.example.com", 8443, "egress.allow"),
        Host("2001:db8::1", None, "egress.allow"),
        Host("2001:db8::2", 443, "egress.allow"),
    ]


def test_sqlite_alone_contacts_nobody(load_text: Load) -> None:
    assert hosts(load_text("")) == []


def test_google_is_listed_whole(load_text: Load) -> None:
    settings = load_text("providers: {g: {kind: google, oauth: {client_id: x, client_secret: y}}}\n")
    assert [(host.host, host.port) for host in hosts(settings)] == [
        ("imap.gmail.com", 993),
        ("smtp.gmail.com", 465),
        ("gmail.googleapis.com", 443),
        ("oauth2.googleapis.com", 443),
        ("openidconnect.googleapis.com", 443),
    ]


PUSH = """\
providers:
  g:
    kind: google
    oauth: {client_id: x, client_secret: y}
    gmail_push:
      topic: projects/p/topics/t
      subscription: projects/p/subscriptions/s
      service_account: '{"client_email": "pull@p.iam.example.com", "private_key": "secret words"}'
"""


def test_pubsub_is_contacted_where_it_is_configured(load_text: Load) -> None:
    found = {f"{host.host}:{host.port}": host.why for host in hosts(load_text(PUSH))}
    assert found["pubsub.googleapis.com:443"] == "providers.g.gmail_push.pubsub_url"
    assert found["oauth2.googleapis.com:443"].startswith("providers.g.gmail_push.token_url")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("projects/p/topics/t", "t"), "gmail_push.topic"),
        (('"private_key": "secret words"', '"key": "secret words"'), "must be the JSON of a service account's key"),
        (("    oauth:", "    read_by: [imap]\n    oauth:"), "gmail_push needs gmail among read_by"),
    ],
)
def test_a_push_that_cannot_be_is_refused(load_text: Load, change: tuple[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_text(PUSH.replace(*change))
    assert said in str(refused.value)
    assert "secret words" not in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "ways", "servers"),
    [
        ("google", "read_by: [gmail], send_by: [gmail]", {"gmail.googleapis.com"}),
        ("google", "read_by: [gmail], send_by: [smtp]", {"gmail.googleapis.com", "smtp.gmail.com", "imap.gmail.com"}),
        ("google", "read_by: [imap], send_by: [gmail]", {"gmail.googleapis.com", "imap.gmail.com"}),
        (
            "microsoft",
            "read_by: [graph], send_by: [graph], upload_urls: []",
            {"graph.microsoft.com"},
        ),
    ],
)
def test_mail_servers_that_no_way_leads_to_are_not_contacted(
    load_text: Load, kind: str, ways: str, servers: set[str]
) -> None:
    settings = load_text(f"providers: {{p: {{kind: {kind}, {ways}, oauth: {{client_id: x, client_secret: y}}}}}}\n")
    assert {one.host for one in hosts(settings) if ".oauth." not in one.why} == servers


PRESET_HOSTS = {
    "microsoft": {
        "outlook.office365.com:993",
        "smtp.office365.com:587",
        "login.microsoftonline.com:443",
        "graph.microsoft.com:443",
        "outlook.office.com:443",
        "outlook.office365.com:443",
    },
    "yandex": {"imap.yandex.ru:993", "smtp.yandex.ru:465", "oauth.yandex.ru:443", "login.yandex.ru:443"},
    "mailru": {"imap.mail.ru:993", "smtp.mail.ru:465", "oauth.mail.ru:443"},
    "fastmail": {"imap.fastmail.com:993", "smtp.fastmail.com:465", "api.fastmail.com:443"},
    "yahoo": {"imap.mail.yahoo.com:993", "smtp.mail.yahoo.com:465", "api.login.yahoo.com:443"},
}


@pytest.mark.parametrize("kind", PRESET_HOSTS)
def test_presets_are_listed_whole(load_text: Load, kind: str) -> None:
    settings = load_text(f"providers: {{p: {{kind: {kind}, oauth: {{client_id: x, client_secret: y}}}}}}\n")
    assert {f"{one.host}:{one.port}" for one in hosts(settings)} == PRESET_HOSTS[kind]


def test_where_device_codes_come_from_is_listed(load_text: Load) -> None:
    oauth = "{client_id: x, issuer: 'https://login.example.com', device_authorization_url: 'https://d.example.com/d'}"
    servers = "imap: {host: i.example.com}, smtp: {host: s.example.com}"
    settings = load_text(f"providers: {{p: {{kind: generic, {servers}, oauth: {oauth}}}}}\n")
    assert "d.example.com" in {one.host for one in hosts(settings)}


def test_microsofts_metadata_adds_no_host(load_text: Load) -> None:
    settings = load_text("providers: {p: {kind: microsoft, oauth: {client_id: x}}}\n")
    provider = settings.provider("p")
    assert endpoint_allowed("https://login.microsoftonline.com/common/oauth2/v2.0/token", provider, settings)
    assert not endpoint_allowed("https://login.example.com/token", provider, settings)


@pytest.mark.parametrize(
    ("provider", "url", "allowed"),
    [
        ("work", "https://login.example.com/token", True),
        ("work", "https://LOGIN.example.com:443/token", True),
        ("work", "https://login.example.com:8443/token", False),
        ("work", "http://login.example.com/token", False),
        ("work", "https://evil.example.com/token", False),
        ("work", "https://login.example.com@evil.example.com/token", False),
        ("work", "https://login.example.com.evil.example.com/token", False),
        ("work", "https://other.example.com:1/token", True),
        ("work", "https://one.example.com:8443/token", True),
        ("work", "https://one.example.com/token", False),
        ("work", "https://[2001:db8::1]/token", True),
        ("work", "http://127.0.0.1:9000/token", False),
        ("local", "http://127.0.0.1:9000/token", True),
        ("local", "http://127.0.0.1:9001/token", False),
        ("work", "ftp://login.example.com/token", False),
        ("work", "https://[broken", False),
        ("work", "https://login.example.com:99999/", False),
        ("work", "", False),
    ],
)
def test_a_discovery_document_adds_no_host(load_text: Load, provider: str, url: str, allowed: bool) -> None:
    settings = load_text(TEXT)
    assert endpoint_allowed(url, settings.provider(provider), settings) is allowed


def test_a_bucket_is_a_host_and_its_secrets_come_from_files(load_text: Load, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from a file\n")
    text = """
storage:
  bucket: {endpoint: 'https://s3.example.com', name: mail, access_key_id: AKIAEXAMPLE, secret_access_key_file: secret}
"""
    settings = load_text(text)
    assert hosts(settings) == [Host("s3.example.com", 443, "storage.bucket")]
    bucket = settings.storage.bucket
    assert bucket is not None
    assert bucket.secret_access_key.get_secret_value() == "from a file"
    assert "from a file" not in repr(settings)
