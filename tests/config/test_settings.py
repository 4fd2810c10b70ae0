"""Defaults, presets and what the loader makes of the file's values."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from config import ConfigError, Settings
from config.presets import PRESETS
from config.providers import GenericProvider
from config.shapes import bare, model_of

from .conftest import Load, Problems

WORK = """\
providers:
  work:
    kind: generic
    imap: {host: IMAP.example.com., tls: starttls}
    smtp: {host: smtp.example.com, tls: starttls}
    oauth: {client_id: x, issuer: https://login.example.com}
"""


def _all_models(model: type[BaseModel]) -> list[type[BaseModel]]:
    below = [model_of(field.annotation, None) for field in model.model_fields.values()]
    return [model, *(found for each in below if each for found in _all_models(each))]


MODELS = [
    *_all_models(Settings),
    *_all_models(GenericProvider),
    *(found for preset in PRESETS.values() for found in _all_models(preset)),
]


def test_the_smallest_file_has_all_defaults(load_text: Load) -> None:
    settings = load_text("")
    assert settings.providers == {}
    assert (settings.inbound.batch_messages_max, settings.inbound.lease_seconds) == (50, 15)
    assert settings.storage.database == "sqlite:////var/lib/ingestd/content.db"
    assert settings.outbound.resend_when_absent is False


def test_every_field_has_one_line_that_says_what_it_is() -> None:
    for model in MODELS:
        assert model.__doc__
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            assert "\n" not in field.description
            assert bare(field.annotation) is not None


def test_settings_are_immutable(load_text: Load) -> None:
    settings = load_text("")
    with pytest.raises(ValidationError, match="frozen"):
        settings.api.listen_port = 1


def test_a_section_without_keys_means_its_defaults(load_text: Load) -> None:
    assert load_text("egress:\nproviders:\ninbound:\n") == load_text("")


def test_plain_text_is_read_as_in_yaml_1_2(load_text: Load) -> None:
    settings = load_text("mailbox_defaults: {folders: [no, on, 8:25, 2026-01-01, 0x10, 1_000]}\n")
    assert settings.mailbox_defaults.folders == ("no", "on", "8:25", "2026-01-01", "0x10", "1_000")


def test_references_work_in_every_value(load_text: Load) -> None:
    settings = load_text(
        "api: {listen_port: '${PORT}'}\nmetrics: {enabled: '${ON}'}\ninbound: {poll_seconds: '${S}'}\n",
        {"PORT": "1", "ON": "false", "S": "2.5"},
    )
    assert (settings.api.listen_port, settings.metrics.enabled, settings.inbound.poll_seconds) == (1, False, 2.5)


def test_paths_begin_at_the_file(load_text: Load, tmp_path: object) -> None:
    text = "storage: {blobs_dir: blobs, database: 'sqlite:///a.db', keystore: 'sqlite:////k/k.db'}\n"
    storage = load_text(text).storage
    assert str(storage.blobs_dir) == f"{tmp_path}/blobs"
    assert storage.database == f"sqlite:///{tmp_path}/a.db"
    assert storage.keystore == "sqlite:////k/k.db"


def test_a_generic_provider_is_filled_in(load_text: Load) -> None:
    provider = load_text(WORK + "outbound: {sent_wait_seconds: 7}\n").provider("work")
    assert (provider.imap.host, provider.imap.port, provider.imap.tls) == ("imap.example.com", 143, "starttls")
    assert provider.smtp.port == 587
    assert provider.oauth.token_auth_method == "none"
    assert (provider.sent_copy, provider.sent_wait_seconds) == ("auto", 7)


def test_google_needs_an_id_and_a_secret_only(load_text: Load) -> None:
    text = "providers: {g: {kind: google, oauth: {client_id: x, client_secret: y}}}\n"
    provider = load_text(text).provider("g")
    assert (provider.imap.host, provider.imap.port) == ("imap.gmail.com", 993)
    assert (provider.smtp.host, provider.smtp.port) == ("smtp.gmail.com", 465)
    assert provider.oauth.token_url == "https://oauth2.googleapis.com/token"
    assert provider.oauth.scopes_needed == ("https://mail.google.com/",)
    assert provider.oauth.extra_authorize_params == {"access_type": "offline", "prompt": "consent"}


def test_every_value_of_a_preset_can_be_overridden(load_text: Load) -> None:
    provider = load_text(
        """\
        providers:
          g:
            kind: google
            imap: {host: 127.0.0.1, port: 1993}
            smtp: {port: 587, tls: starttls}
            mechanisms: [OAUTHBEARER]
            sent_copy: never
            sent_wait_seconds: 1
            authserv_ids: [mx.example.com]
            oauth:
              client_id: x
              token_auth_method: none
              token_url: http://127.0.0.1:9/token
              revoke_url: http://[::1]:9/revoke
              scopes: [mail]
              scopes_needed: [mail]
        """
    ).provider("g")
    assert (provider.imap.host, provider.imap.port) == ("127.0.0.1", 1993)
    assert (provider.smtp.host, provider.smtp.port, provider.smtp.tls) == ("smtp.gmail.com", 587, "starttls")
    assert provider.oauth.token_url == "http://127.0.0.1:9/token"
    assert provider.oauth.scopes_needed == ("mail",)
    assert (provider.sent_copy, provider.sent_wait_seconds) == ("never", 1)


def test_an_unknown_provider(load_text: Load) -> None:
    with pytest.raises(KeyError):
        load_text("").provider("nobody")


APP = "oauth: {client_id: x, client_secret: y}"


@pytest.mark.parametrize("kind", PRESETS)
def test_every_preset_needs_an_application_only(load_text: Load, kind: str) -> None:
    provider = load_text(f"providers: {{p: {{kind: {kind}, {APP}}}}}\n").provider("p")
    assert provider.kind == kind
    assert (provider.imap.port, provider.imap.tls) == (993, "implicit")
    assert (provider.smtp.port, provider.smtp.tls) in {(465, "implicit"), (587, "starttls")}
    assert provider.sent_copy == "auto"
    assert provider.removal_page
    assert provider.session_ends_with_token is (kind in {"google", "microsoft"})
    assert (
        load_text(f"providers: {{p: {{kind: {kind}, session_ends_with_token: false, {APP}}}}}\n")
        .provider("p")
        .session_ends_with_token
        is False
    )


def test_microsoft(load_text: Load) -> None:
    provider = load_text(f"providers: {{p: {{kind: microsoft, {APP}}}}}\n").provider("p")
    assert (provider.oauth.client, provider.oauth.tenant) == ("msal", "common")
    assert (provider.smtp.host, provider.smtp.port, provider.smtp.tls) == ("smtp.office365.com", 587, "starttls")
    assert provider.mechanisms == ("XOAUTH2",)
    # With Graph's names the token opens no mailbox.
    assert all(scope.startswith("https://outlook.office.com/") for scope in provider.oauth.scopes)


def test_microsofts_personal_mailboxes_have_another_submission_server(load_text: Load) -> None:
    text = "providers: {{p: {{kind: microsoft, {more}oauth: {{client_id: x, tenant: Consumers}}}}}}\n"
    provider = load_text(text.format(more="")).provider("p")
    assert (provider.smtp.host, provider.smtp.port) == ("smtp-mail.outlook.com", 587)
    assert provider.removal_page == "https://microsoft.com/consent"
    own = load_text(text.format(more="smtp: {host: smtp.example.com}, removal_page: 'https://example.com/', "))
    assert (own.provider("p").smtp.host, own.provider("p").removal_page) == ("smtp.example.com", "https://example.com/")
    ported = load_text(text.format(more="smtp: {port: 2587}, ")).provider("p")
    assert (ported.smtp.host, ported.smtp.port) == ("smtp-mail.outlook.com", 2587)


def test_yandex(load_text: Load) -> None:
    oauth = load_text(f"providers: {{p: {{kind: yandex, {APP}}}}}\n").provider("p").oauth
    assert (oauth.device_id, oauth.revoke_form, oauth.userinfo_auth) == (True, "access_token", "OAuth")
    assert (oauth.address_claim, oauth.subject_claim) == ("default_email", "id")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("tenant: 'a/b'", "must be common, organizations, consumers"),
        ("tenant: null", "needs authority and tenant"),
        ("extra_authorize_params: {access_type: offline}", "takes prompt and domain_hint only"),
        ("token_auth_method: client_secret_post", "needs client_secret"),
    ],
)
def test_what_microsofts_library_cannot_take(problems: Problems, more: str, said: str) -> None:
    found = problems(f"providers: {{p: {{kind: microsoft, oauth: {{client_id: x, {more}}}}}}}\n")
    assert said in "".join(found)


def test_the_library_is_a_setting_of_any_provider(load_text: Load) -> None:
    text = """\
        providers:
          p:
            kind: generic
            imap: {host: imap.example.com}
            smtp: {host: smtp.example.com}
            oauth: {client: msal, authority: 'https://login.example.com', tenant: example.com, client_id: x}
        """
    assert load_text(text).provider("p").oauth.authority == "https://login.example.com"
    standard = load_text(
        "providers: {p: {kind: microsoft, oauth: {client: standard, client_id: x, "
        "issuer: 'https://login.example.com/t/v2.0'}}}\n"
    )
    assert standard.provider("p").oauth.client == "standard"


def test_names_of_authentication_results(load_text: Load) -> None:
    document = """
providers:
  work: {{kind: generic, imap: {{host: a.example.com}}, smtp: {{host: a.example.com}}, authserv_ids: {},
    oauth: {{issuer: "https://login.example.com", client_id: x, scopes: [mail]}}}}
"""
    found = load_text(document.format('[MX.example.com, "*.Example.net", ""]')).provider("work")
    assert found.authserv_ids == ("mx.example.com", "*.example.net", "")
    for wrong in ("[mx example]", '["*.com"]', '["*"]', '["a.*.example.com"]'):
        with pytest.raises(ConfigError, match=r"must be a host name .*, \*\.example\.com, or"):
            load_text(document.format(wrong))


def test_agents_are_addresses_and_domains(load_text: Load) -> None:
    text = 'tickets: {agents: [kim@example.com, "@Example.net", example.org]}\n'
    assert load_text(text).tickets.agents == ("kim@example.com", "example.net", "example.org")
    with pytest.raises(ConfigError, match="must be a mail address or a domain"):
        load_text("tickets: {agents: [two words]}\n")


def test_the_way_graph_is_for_microsoft_alone(load_text: Load, problems: Problems) -> None:
    provider = load_text(f"providers: {{p: {{kind: microsoft, {APP}}}}}\n").provider("p")
    assert (provider.read_by, provider.send_by) == (("graph", "imap"), ("graph", "smtp"))
    assert load_text(f"providers: {{p: {{kind: google, {APP}}}}}\n").provider("p").read_by == ("imap", "gmail")
    found = problems(f"providers: {{p: {{kind: google, read_by: [graph], {APP}}}}}\n")
    assert "the way graph is for kind microsoft" in found[0]
