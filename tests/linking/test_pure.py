"""The parts of linking that ask nobody: flows, callbacks, tokens, verdicts, ID tokens."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from ingestd.linking.discovery import Endpoints
from ingestd.linking.errors import (
    AdminBlocked,
    CallbackRejected,
    ClientRejected,
    CodeRefused,
    ConsentNeeded,
    GrantRevoked,
    IdentityUnproved,
    LinkingError,
    TokenEndpointDown,
)
from ingestd.linking.flow import Flow, authorize_url, check_callback_issuer, new_flow
from ingestd.linking.identity import id_token_claims, identity_of
from ingestd.linking.tokens import TokenSet, missing_scopes, read_tokens, verdict

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
ISSUER = "https://id.example.com"
ENDPOINTS = Endpoints("https://id.example.com/auth?tenant=a&state=fixed", "https://id.example.com/token", issuer=ISSUER)


def test_flows_are_long_and_differ() -> None:
    flows = [new_flow() for _ in range(50)]
    assert len({flow.state for flow in flows} | {flow.verifier for flow in flows} | {f.nonce for f in flows}) == 150
    assert all(len(flow.state) == 43 and len(flow.verifier) == 86 for flow in flows)


def test_the_challenge_is_that_of_rfc_7636() -> None:
    flow = Flow("s", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "n")
    assert flow.challenge == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_authorize_url_keeps_the_endpoints_query_and_ours_wins() -> None:
    flow = new_flow("https://desk.example.com/cb")
    url = authorize_url(ENDPOINTS, "desk", ["openid", "mail"], flow, extra_params={"prompt": "consent"})
    params = parse_qs(urlsplit(url).query)
    assert url.startswith("https://id.example.com/auth?")
    assert params["tenant"] == ["a"]
    assert params["state"] == [flow.state]
    assert params["scope"] == ["openid mail"]
    assert params["prompt"] == ["consent"]
    assert params["redirect_uri"] == ["https://desk.example.com/cb"]
    assert "device_id" not in params
    assert flow.verifier not in url


def test_a_device_id_goes_along_with_its_name() -> None:
    url = authorize_url(ENDPOINTS, "desk", ["mail"], new_flow("https://desk.example.com/cb", "d-1"))
    params = parse_qs(urlsplit(url).query)
    assert (params["device_id"], params["device_name"]) == (["d-1"], ["ingestd"])


@pytest.mark.parametrize("name", ["state", "redirect_uri", "code_challenge_method", "request_uri", "device_id"])
def test_reserved_parameters(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        authorize_url(ENDPOINTS, "desk", [], new_flow("https://desk.example.com/cb"), extra_params={name: "x"})


@pytest.mark.parametrize(
    ("issuer", "promised", "iss", "good"),
    [
        (ISSUER, True, ISSUER, True),
        (ISSUER, True, None, False),
        (ISSUER, True, ISSUER + "/", False),
        (ISSUER, False, None, True),
        (ISSUER, False, "https://evil.example.net", False),
        (None, False, "https://accounts.example.com", True),
    ],
)
def test_callback_issuer(issuer: str | None, promised: bool, iss: str | None, good: bool) -> None:
    endpoints = Endpoints("https://a.example/", "https://t.example/", issuer=issuer, callback_names_issuer=promised)
    if good:
        check_callback_issuer(endpoints, iss)
        return
    with pytest.raises(CallbackRejected):
        check_callback_issuer(endpoints, iss)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(3600, 3600), ("3600", 3600), (3599.5, 3599.5), (10**12, 366 * 24 * 3600)],
)
def test_expiry(value: object, expected: float) -> None:
    tokens = read_tokens({"access_token": "a", "expires_in": value}, NOW)
    assert tokens.expires_at == NOW + timedelta(seconds=expected)


@pytest.mark.parametrize("value", [None, 0, -5, True, "soon", "nan", "inf", [], 10**400, "1" * 5000])
def test_no_expiry(value: object) -> None:
    assert read_tokens({"access_token": "a", "expires_in": value}, NOW).expires_at is None


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        {"access_token": ""},
        {"access_token": 5},
        {"access_token": "a\x01user=other"},
        {"access_token": "a\r\nX: y"},
        {"access_token": "ключ"},
        {"access_token": "a" * 20_000},
        {"access_token": "a", "token_type": "mac"},
        {"access_token": "a", "token_type": 1},
    ],
)
def test_no_tokens(document: dict[str, object] | None) -> None:
    with pytest.raises(TokenEndpointDown):
        read_tokens(document, NOW)


def test_odd_optional_fields_are_left_out() -> None:
    tokens = read_tokens({"access_token": "a", "refresh_token": [], "scope": 3, "id_token": "a b"}, NOW)
    assert tokens == TokenSet("a", None, None, None, None)
    assert read_tokens({"access_token": "a", "token_type": "bearer", "scope": " "}, NOW).scopes is None


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({"error": "invalid_grant"}, GrantRevoked),
        ({"error": "invalid_grant", "error_subtype": "invalid_rapt"}, ConsentNeeded),  # Google: session control
        ({"error": "invalid_grant", "suberror": "bad_token", "error_codes": [700082]}, GrantRevoked),
        ({"error": "invalid_grant", "suberror": "consent_required"}, ConsentNeeded),
        ({"error": "invalid_grant", "error_codes": [50076]}, ConsentNeeded),
        ({"error": "invalid_grant", "error_codes": "50076", "suberror": []}, GrantRevoked),
        ({"error": "invalid_grant", "error_codes": [50173]}, GrantRevoked),
        ({"error": "invalid_grant", "error_codes": [1, 90094]}, AdminBlocked),
        ({"error": "invalid_grant", "error_description": "AADSTS65001: nobody consented"}, ConsentNeeded),
        ({"error": "invalid_grant", "error_codes": [53003], "suberror": "message_only"}, AdminBlocked),
        ({"error": "invalid_client", "error_codes": [7000222]}, ClientRejected),
        ({"error": "interaction_required", "error_codes": [50079]}, ConsentNeeded),
        ({"error": "invalid_grant", "error_codes": [True, "50173"], "error_description": 5}, GrantRevoked),
        ({"error": "access_denied"}, ConsentNeeded),
        ({"error": "expired_token"}, CodeRefused),
        ({"error": "interaction_required"}, ConsentNeeded),
        ({"error": "invalid_client"}, ClientRejected),
        ({"error": "unauthorized_client"}, ClientRejected),
        ({"error": "temporarily_unavailable"}, TokenEndpointDown),
        ({"error": "of_our_own_making"}, TokenEndpointDown),
        ({"error": ["invalid_grant"]}, TokenEndpointDown),
        ({}, TokenEndpointDown),
        (None, TokenEndpointDown),
    ],
)
def test_verdicts(document: dict[str, object] | None, error: type[LinkingError]) -> None:
    assert type(verdict(400, document, refreshing=True)) is error


def test_an_unknown_error_is_not_repeated_in_the_text() -> None:
    raised = verdict(400, {"error": "alice@example.com", "error_description": "alice@example.com"}, refreshing=True)
    assert "alice" not in str(raised)


def test_invalid_grant_to_a_code_revokes_nothing() -> None:
    assert type(verdict(400, {"error": "invalid_grant"}, refreshing=False)) is CodeRefused


def test_renamed_and_silent_scopes() -> None:
    asked = ["openid", "email", "offline_access", "https://mail.example.com/"]
    renamed = TokenSet("a", "r", None, ("https://id.example.com/userinfo.email", "https://mail.example.com/"))
    assert missing_scopes(asked, renamed) == ()
    assert missing_scopes(asked, TokenSet("a", "r", None, None)) == ()
    assert missing_scopes(asked, TokenSet("a", None, None, ("openid",))) == (
        "https://mail.example.com/",
        "offline_access",
    )


def _jwt(**changes: object) -> str:
    claims = {"iss": ISSUER, "aud": "desk", "sub": "s", "exp": NOW.timestamp() + 60, "nonce": "n"} | changes
    body = json.dumps({name: value for name, value in claims.items() if value is not None}).encode()
    return f"e30.{base64.urlsafe_b64encode(body).rstrip(b'=').decode()}.sig"


@pytest.mark.parametrize("changes", [{}, {"aud": ["desk"]}, {"aud": ["desk", "x"], "azp": "desk"}, {"exp": 1e300}])
def test_good_id_tokens(changes: dict[str, object]) -> None:
    claims = id_token_claims(_jwt(**changes), client_id="desk", issuer=ISSUER, nonce="n", now=NOW)
    assert claims["sub"] == "s"


@pytest.mark.parametrize(
    "token",
    [
        _jwt(aud="other"),
        _jwt(aud=None),
        _jwt(aud=["desk", "x"]),
        _jwt(azp="other"),
        _jwt(iss="https://evil.example.net"),
        _jwt(iss=None),
        _jwt(exp=NOW.timestamp() - 300),
        _jwt(exp=None),
        _jwt(exp="9999999999"),
        _jwt(exp=True),
        _jwt(exp=float("nan")),
        _jwt(nonce="other"),
        _jwt(nonce=None),
        _jwt(nonce=5),
        "a.b",
        "a.!!.c",
        "a.e30.c",
        "a.W10.c",
        "a." + base64.urlsafe_b64encode(b"[" * 50_000).decode() + ".c",
    ],
)
def test_bad_id_tokens(token: str) -> None:
    with pytest.raises(IdentityUnproved):
        id_token_claims(token, client_id="desk", issuer=ISSUER, nonce="n", now=NOW)


def test_an_ended_grant_means_an_old_code_where_there_is_none_yet() -> None:
    assert type(verdict(400, {"error": "invalid_grant", "error_codes": [70008]}, refreshing=False)) is CodeRefused


def test_the_subject_claim_is_the_one_that_was_told() -> None:
    answer = {"sub": "s", "username": "alice@example.com"}
    told = identity_of(answer, None, address_claim="username", subject_claim="username", issuer=ISSUER)
    assert (told.subject, told.address) == ("alice@example.com", "alice@example.com")
    # An id that is no `sub` need not be the ID token's subject.
    mixed = identity_of({"id": "5", "email": "a@example.com"}, {"sub": "s"}, address_claim="email", issuer=ISSUER)
    assert mixed.subject == "5"
    with pytest.raises(IdentityUnproved, match="different subjects"):
        identity_of({"sub": "t", "email": "a@example.com"}, {"sub": "s"}, address_claim="email", issuer=ISSUER)


def test_identities() -> None:
    answer = {"id": 1000034426, "default_email": "alice@example.com"}
    identity = identity_of(answer, None, address_claim="default_email", issuer=ISSUER)
    assert (identity.subject, identity.address) == ("1000034426", "alice@example.com")
    second = identity_of({"sub": "s"}, {"sub": "s", "email": "a@example.com"}, address_claim="email", issuer=ISSUER)
    assert second.address == "a@example.com"


@pytest.mark.parametrize(
    "answer",
    [
        {"sub": "s"},
        {"email": "a@example.com"},
        {"sub": "", "email": "a@example.com"},
        {"sub": True, "email": "a@example.com"},
        {"sub": "s" * 300, "email": "a@example.com"},
        {"sub": "s", "email": "a@example.com", "email_verified": False},
        {"sub": "s", "email": "a@example.com", "email_verified": "false"},
        {"sub": "s", "email": "a@example.com\r\nBcc: b@example.com"},
        {"sub": "s", "email": "a@example.com, b@example.com"},
        {"sub": "s", "email": "<a@example.com>"},
        {"sub": "s", "email": ["a@example.com"]},
        {"sub": "s", "email": "a" * 320 + "@example.com"},
    ],
)
def test_no_identity(answer: dict[str, object]) -> None:
    with pytest.raises(IdentityUnproved):
        identity_of(answer, None, address_claim="email", issuer=ISSUER)
