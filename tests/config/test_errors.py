"""Every kind of mistake: its line, its column, its key, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import ConfigError, load
from config.document import FILE_BYTES_MAX

from .conftest import KEYS, MASTER_KEY, Problems

GENERIC = """\
providers:
  work:
    kind: generic
    imap: {host: imap.example.com}
    smtp: {host: smtp.example.com}
    oauth:
      client_id: x
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("api:\n  listen_prt: 1\n", "3:3: api.listen_prt: unknown key; did you mean listen_port?"),
        ("apii: {}\n", "2:1: apii: unknown key; did you mean api?"),
        (
            "metrics:\n  zzz: 1\n",
            "3:3: metrics.zzz: unknown key; remove it (the keys here are: enabled)",
        ),
        ("api:\n  master_key_file: x\n", "3:3: api.master_key_file: unknown key; remove it (the keys here are: "),
        ("inbound:\n  poll_seconds: often\n", "3:17: inbound.poll_seconds: must be a number"),
        ("inbound:\n  poll_seconds: .inf\n", "3:17: inbound.poll_seconds: must be a number"),
        ("inbound:\n  batch_messages_max: 1.5\n", "3:23: inbound.batch_messages_max: must be a whole number"),
        ("inbound:\n  batch_messages_max: 0\n", "3:23: inbound.batch_messages_max: must be at least 1"),
        ("inbound:\n  poll_seconds: 0\n", "3:17: inbound.poll_seconds: must be more than 0"),
        ("api:\n  listen_port: 65536\n", "3:16: api.listen_port: must be at most 65535"),
        ("api: [1]\n", "2:6: api: must be a section: keys with their values, indented below it"),
        ("metrics: {enabled: perhaps}\n", "2:20: metrics.enabled: must be true or false"),
        ("logging:\n  format: xml\n", "3:11: logging.format: must be one of: 'json' or 'console'"),
        (
            "mailbox_defaults:\n  folders: INBOX\n",
            "3:12: mailbox_defaults.folders: must be a list: [first, second]",
        ),
        ("mailbox_defaults:\n  folders: []\n", "3:12: mailbox_defaults.folders: must have at least 1 entry"),
        (
            "mailbox_defaults:\n  folders:\n    - INBOX\n    - 12\n",
            "5:7: mailbox_defaults.folders[1]: must be text; put it in quotes",
        ),
        (
            "mailbox_defaults:\n  contact_forms: [nobody]\n",
            "3:19: mailbox_defaults.contact_forms[0]: must be a mail address alone: forms@example.com",
        ),
        (
            "mailbox_defaults:\n  start_from: days\n",
            "2:1: mailbox_defaults.start_days: must be 1 or more with start_from: days",
        ),
        (
            "inbound:\n  heartbeat_seconds: 10\n",
            "3:22: inbound.heartbeat_seconds: must be at most half of lease_seconds (15)",
        ),
        (
            "inbound:\n  backoff: {initial_seconds: 9, max_seconds: 3}\n",
            "3:46: inbound.backoff.max_seconds: must not be less than initial_seconds (9)",
        ),
        (
            "api:\n  public_url: http://helpdesk.example.com\n",
            "3:15: api.public_url: must begin with https:// (http:// is for 127.0.0.1, ::1 and localhost only)",
        ),
        ("api:\n  public_url: helpdesk.example.com\n", "3:15: api.public_url: must be a whole address: "),
        ("api:\n  public_url: https://[::1\n", "3:15: api.public_url: must be a whole address: "),
        ("api:\n  public_url: https://a.example.com/?x\n", "3:15: api.public_url: must be an address without a query"),
        ("api:\n  listen_host: a b\n", "3:16: api.listen_host: must be a host name or IP address alone"),
        ("api:\n  request_bytes_max: 1000\n", "1:1: api.request_bytes_max must be at least 4/3 of outbound."),
        ("egress:\n  allow: ['a.example.com:x']\n", "3:11: egress.allow[0]: must be host or host:port"),
        (
            "storage:\n  database: mysql://db/x\n",
            "3:13: storage.database: must be sqlite:///path/to/file or postgresql:",
        ),
        ("storage:\n  database: 'sqlite:///:memory:'\n", "3:13: storage.database: must "),
        ("storage:\n  database: 'sqlite:///'\n", "3:13: storage.database: must name a file"),
        (
            "storage:\n  database: postgresql://db/x?host=other\n",
            "3:13: storage.database: must name its host and port before the path, not in the query",
        ),
        (
            "storage:\n  database: postgresql://a@DB/x\n  keystore: postgresql://b:c@db:5432/x\n",
            "4:13: storage.keystore: must be another database than storage.database",
        ),
        ("storage:\n  database: sqlite:///a\n  keystore: sqlite:///./a\n", "4:13: storage.keystore: must be another"),
        (
            "providers:\n  Work: {kind: google, oauth: {client_id: x, client_secret: y}}\n",
            "3:3: providers.Work: must be made of a-z, 0-9, - and _",
        ),
        ("providers:\n  work:\n    imap: {}\n", "3:3: providers.work.kind: is missing; add kind: generic, or"),
        ("providers:\n  work: {kind: gogle}\n", "3:16: providers.work.kind: must be one of: 'generic', 'google'"),
        ("providers:\n  g: {kind: google}\n", "3:3: providers.g.oauth: is missing; add it"),
        ("providers:\n  g:\n    kind: google\n    oauth: {}\n", "5:5: providers.g.oauth.client_id: is missing; add it"),
        (GENERIC, "7:5: providers.work.oauth: needs either issuer, or authorize_url and token_url"),
        (
            GENERIC + "      authorize_url: https://a.example.com\n      token_url: https://a.example.com\n",
            "7:5: providers.work.oauth: needs issuer, userinfo_url or introspect_url",
        ),
        (
            GENERIC + "      issuer: http://a.example.com\n",
            "9:15: providers.work.oauth.issuer: must begin with https://",
        ),
        (
            GENERIC + "      issuer: https://a.example.com\n      token_auth_method: client_secret_post\n",
            "7:5: providers.work.oauth: token_auth_method client_secret_post needs client_secret",
        ),
        (
            GENERIC + "      issuer: https://a.example.com\n      extra_authorize_params: {state: x}\n",
            "10:31: providers.work.oauth.extra_authorize_params: state: ingestd sets this by itself; remove it",
        ),
        (
            GENERIC + "      issuer: https://a.example.com\n    mechanisms: [PLAIN]\n",
            "10:18: providers.work.mechanisms[0]: ",
        ),
        (GENERIC + "      issuer: https://a.example.com\n    tls_ca_file: 1\n", "10:18: providers.work.tls_ca_file: "),
        ("api:\n  listen_port: ${NOT_SET}\n", "3:16: api.listen_port: the environment variable NOT_SET is not set; "),
        ("api:\n  listen_host: ${A\n", "3:16: api.listen_host: ${ is never closed by }"),
        ("api:\n  listen_host: ${A-B}\n", "3:16: api.listen_host: what stands in ${…} is not the name"),
        ("api:\n  listen_port: 1\n  listen_port: 2\n", "4:3: api.listen_port: the key is here twice, first at line 3;"),
        ("api: {}\nlogging: {}\napi: {}\n", "4:1: api: the key is here twice, first at line 2; remove one"),
        ("api:\n  listen_host: !secret x\n", "3:16: api.listen_host: a tag (!) is not supported"),
        (
            "api:\n  listen_port: !!int x\n",
            "3:16: api.listen_port: the value does not fit its tag (!!); remove the tag",
        ),
        ("api: !!python/object:os.system {}\n", "2:6: api: a tag (!) is not supported"),
        ("api: {listen_port: true}\n", "2:20: api.listen_port: must be a number"),
        ("api: {public_url: true}\n", "2:19: api.public_url: must be text; put it in quotes"),
        ('api: {public_url: "a\\0"}\n', "2:19: api.public_url: holds a NUL or text that is not UTF-8; remove it"),
        ('"a\\e": 1\n', "2:1: a key must be plain text"),
        ("? [a]\n: 1\n", "2:3: a key must be plain text"),
    ],
)
def test_a_mistake_is_reported_once_at_its_place(problems: Problems, text: str, expected: str) -> None:
    (line,) = problems(text)
    assert line.startswith(f"ingestd.yaml:{expected}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("api:\n\tlisten_port: 1\n", "3:1: a tab; indent with spaces"),
        ("api:\n  \tlisten_port: 1\n", "3:"),
        ("api: &a {}\n", "2:6: a value that begins with & must be in quotes (anchors are not supported)"),
        ("api: *a\n", "2:6: a value that begins with * must be in quotes (aliases are not supported)"),
        ("api: @x\n", "2:6: a value that begins with a special character (such as % @ `) must be in quotes"),
        ("api: a: b\n", "2:7: a colon where none can be; check the indentation, or put the value in quotes"),
        ("api\nlogging: {}\n", "3:1: a key without its colon, or a line that is indented wrongly"),
        ("api: [\n", "3:1: not YAML: "),
        ("---\napi: {}\n", "2:1: a second document begins here; keep one, without ---"),
        ("api: " + "[" * 20 + "]" * 20 + "\n", "2:17: nested too deeply"),
        ("api: 'a\x01'\n", "2:8: a control character; remove it"),
    ],
)
def test_a_text_that_is_not_yaml_is_reported_at_its_place(problems: Problems, text: str, expected: str) -> None:
    (line,) = problems(text)
    assert line.startswith(f"ingestd.yaml:{expected}")


def test_all_mistakes_are_listed_in_the_order_of_the_file(problems: Problems) -> None:
    lines = problems("api:\n  listen_prt: 1\n  listen_host: ${NO}\ninbound:\n  poll_seconds: x\n", keys="")
    assert [line.split(": ")[:2] for line in lines] == [
        ["ingestd.yaml:1:1", "keys"],
        ["ingestd.yaml:2:3", "api.listen_prt"],
        ["ingestd.yaml:3:16", "api.listen_host"],
        ["ingestd.yaml:5:17", "inbound.poll_seconds"],
    ]


def test_a_missing_secret_names_all_its_keys(problems: Problems) -> None:
    assert problems("keys: {}\n", keys="") == [
        "ingestd.yaml:1:1: keys.master_key: is missing; add it, or master_key_file or master_key_credential"
    ]


@pytest.mark.parametrize("text", ["", "# nothing\n", "~\n"])
def test_an_empty_file_lacks_its_keys(problems: Problems, text: str) -> None:
    assert problems(text, keys="") == ["ingestd.yaml:1:1: keys: is missing; add it"]


def test_a_file_that_is_no_section(problems: Problems) -> None:
    (line,) = problems("- a\n", keys="")
    assert line.startswith("ingestd.yaml:1:1: must be a section")


def test_text_that_is_not_utf8(problems: Problems) -> None:
    assert problems(KEYS.encode() + "api:\n  é: ".encode() + b"\xff\n") == [
        "ingestd.yaml:3:6: not UTF-8 text; save the file as UTF-8"
    ]


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(load_text: Problems) -> None:
    load_text(b"\xef\xbb\xbf" + KEYS.encode() + b"api:\r\n  listen_port: 1\r\n")


def test_a_file_that_is_too_big(problems: Problems) -> None:
    (line,) = problems(b"#" * (FILE_BYTES_MAX + 1))
    assert line == f"ingestd.yaml: is larger than {FILE_BYTES_MAX} bytes; it cannot be a configuration of ingestd"


def test_a_file_that_is_missing_or_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.yaml: there is no such file; check the path"):
        load(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="cannot be read: not a regular file"):
        load(tmp_path)
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    with pytest.raises(ConfigError, match="cannot be read: Too many levels of symbolic links"):
        load(loop)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_refused_in_words_or_loads(tmp_path: Path, data: st.DataObject) -> None:
    example = (Path(__file__).resolve().parents[2] / "config" / "example.yaml").read_bytes()
    start = data.draw(st.integers(0, len(example)))
    piece = data.draw(st.one_of(st.binary(max_size=8), st.text("{}[]:-!&*\"'|>%@\\\n\t ${}#~x0", max_size=8)))
    damage = piece.encode() if isinstance(piece, str) else piece
    file = tmp_path / "damaged.yaml"
    file.write_bytes(example[:start] + damage + example[start + data.draw(st.integers(0, 40)) :])
    environ = {"INGESTD_MASTER_KEY": MASTER_KEY, "GOOGLE_CLIENT_SECRET": "x"}
    words = ""
    try:
        key = load(file, environ).keys.master_key_bytes()
    except ConfigError as error:
        key, words = None, str(error)
    assert words.encode() if key is None else key == bytes(range(32))
    assert "is not valid (" not in words
