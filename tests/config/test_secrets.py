"""How secrets are given, and that they are printed nowhere."""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import traceback
from pathlib import Path

import pytest

from config import ConfigError, Secret, Settings, load, mask_url

from .conftest import KEYS, MASTER_KEY, Load, Problems

HIDDEN = "hunter2-correct-horse"


def _master_key_file(folder: Path, text: str = MASTER_KEY, mode: int = 0o600) -> Path:
    file = folder / "master.key"
    file.write_text(text)
    file.chmod(mode)
    return file


def _full(load_text: Load, tmp_path: Path) -> Settings:
    (tmp_path / "client").write_text(f"{HIDDEN}-file\n")
    return load_text(
        f"""\
        storage:
          database: postgresql://ingestd:{HIDDEN}-db@db.example.com/content
          keystore: postgresql://ingestd:${{PW}}@keys.example.com/keys
        providers:
          a: {{kind: google, oauth: {{client_id: x, client_secret: '{HIDDEN}-inline'}}}}
          b: {{kind: google, oauth: {{client_id: x, client_secret_file: client}}}}
        """,
        {"PW": f"{HIDDEN}-env"},
    )


def test_secrets_are_read_from_every_source(load_text: Load, tmp_path: Path) -> None:
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "client").write_text("from systemd\r\n")
    settings = load_text(
        """\
        keys: {master_key_file: master.key}
        providers:
          a: {kind: google, oauth: {client_id: x, client_secret_credential: client}}
          b: {kind: google, oauth: {client_id: x, client_secret: "a${MIDDLE}c$${d}"}}
        """,
        {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials"), "MIDDLE": "b"},
        keys=f"# {_master_key_file(tmp_path, MASTER_KEY + os.linesep).name}\n",
    )
    secrets = [settings.provider(name).oauth.client_secret for name in ("a", "b")]
    assert settings.keys.master_key_bytes() == bytes(range(32))
    assert [secret.get_secret_value() for secret in secrets if secret] == ["from systemd", "abc${d}"]


def test_settings_never_print_a_secret(load_text: Load, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = _full(load_text, tmp_path)
    assert f"{HIDDEN}-db" in settings.storage.database
    assert f"{HIDDEN}-env" in settings.storage.keystore
    logging.getLogger("test").error("%s %r", settings, settings)
    printed = [
        repr(settings),
        str(settings),
        f"{settings.storage} {settings.keys} {settings.provider('a')}",
        str(settings.model_dump()),
        settings.model_dump_json(),
        json.dumps(settings.model_dump(mode="json")),
        caplog.text,
    ]
    for text in printed:
        assert HIDDEN not in text
        assert MASTER_KEY not in text
    assert "postgresql://ingestd:***@db.example.com/content" in printed[0]


def test_a_secret_does_not_leave_the_process(load_text: Load, tmp_path: Path) -> None:
    settings = _full(load_text, tmp_path)
    for value in (Secret(HIDDEN), settings.keys, settings):
        with pytest.raises(TypeError, match="a secret cannot be pickled"):
            pickle.dumps(value)
    assert copy.deepcopy(settings) == settings
    assert copy.copy(Secret("a")) == Secret("a") != Secret("b")


@pytest.mark.parametrize(
    "text",
    [
        f"keys: {{master_key: {HIDDEN}}}\n",
        f"keys: {{master_key: [{HIDDEN}]}}\n",
        f"keys: {{master_key: {{{HIDDEN}: {HIDDEN}, {HIDDEN}: 1}}}}\n",
        f"keys: {{master_key: !{HIDDEN} x}}\n",
        f"keys: {{master_key: !{HIDDEN}!{HIDDEN} x}}\n",
        f"keys: {{master_key: !<{HIDDEN}> x}}\n",
        f"keys:\n  master_key: *{HIDDEN}\n",
        f"keys:\n  master_key: &{HIDDEN}\n",
        f"keys:\n  master_key: @{HIDDEN}\n",
        f"keys:\n  master_key: %{HIDDEN}\n",
        f"keys:\n  master_key: |{HIDDEN}\n",
        f"keys:\n  master_key: {HIDDEN}: {HIDDEN}\n",
        f"keys:\n  master_key: '{HIDDEN}\n",
        f"keys:\n  master_key: '{HIDDEN}'{HIDDEN}\n",
        f'keys:\n  master_key: "\\{HIDDEN}"\n',
        f'keys:\n  master_key: "\\x{HIDDEN}"\n',
        f"keys:\n  master_key: '{HIDDEN}\x07'\n",
        f"keys:\n  master_key: ${{{HIDDEN}\n",
        f"keys:\n  master_key: a\n  master_key: {HIDDEN}\n",
        f"%{HIDDEN} {HIDDEN}\n---\nkeys: {{}}\n",
        f"storage: {{database: 'postgresql://u:{HIDDEN}@'}}\n",
        f"storage: {{database: 'postgresql://u:{HIDDEN}@db:{HIDDEN}/x'}}\n",
        f"storage: {{database: 'postgresql://u:{HIDDEN}@[db/x'}}\n",
        f"storage: {{database: 'mysql://u:{HIDDEN}@db/x'}}\n",
        f"storage: {{database: 'postgresql://u:{HIDDEN}@d/x', keystore: 'postgresql://u:{HIDDEN}@d/x'}}\n",
        f"logging: {{level: {HIDDEN}}}\n",
        f"inbound: {{poll_seconds: {HIDDEN}}}\n",
        f"api: {{listen_host: '{HIDDEN} x', public_url: {HIDDEN}, listen_port: {HIDDEN}}}\n",
        f"providers: {{a: {{kind: {HIDDEN}}}}}\n",
        f"providers: {{a: {{kind: google, oauth: {{client_id: 1, client_secret: [{HIDDEN}]}}}}}}\n",
    ],
)
def test_no_error_prints_what_stands_in_the_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "ingestd.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(caught.value.problems)
    assert HIDDEN not in shown
    assert caught.value.__context__ is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o602])
def test_a_master_key_that_others_may_touch_is_refused(tmp_path: Path, problems: Problems, mode: int) -> None:
    file = _master_key_file(tmp_path, mode=mode)
    (line,) = problems("keys:\n  master_key_file: master.key\n", keys="")
    what = "master.key can be read or changed by other users; run: chmod 600 master.key"
    assert line == f"ingestd.yaml:2:20: keys.master_key_file: {what}"
    file.chmod(0o400)
    assert load(tmp_path / "ingestd.yaml", {}).keys.master_key_bytes() == bytes(range(32))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("master_key_file: none", "20: keys.master_key_file: cannot read none: No such file or directory; check"),
        ("master_key_file: .", "20: keys.master_key_file: cannot read "),
        ("master_key_file: empty", "20: keys.master_key_file: empty is empty; write the secret into it"),
        ("master_key_file: binary", "20: keys.master_key_file: binary is not UTF-8 text; write the secret as text"),
        ("master_key_file: big", "20: keys.master_key_file: big is larger than 65536 bytes"),
        ("master_key_file: short", "20: keys.master_key: must be 32 random bytes in base64; make one with: "),
        ("master_key_file: fifo", "20: keys.master_key_file: cannot read fifo: not a regular file"),
        ("master_key_file: 1", "20: keys.master_key_file: must be the path of a file, as text"),
        ("master_key_file: [a]", "20: keys.master_key_file: must be the path of a file, as text"),
        ("master_key_file: ${NO}", "20: keys.master_key_file: the environment variable NO is not set; set it"),
        ("master_key_credential: a", "26: keys.master_key_credential: CREDENTIALS_DIRECTORY is not set; start"),
        ("master_key: ''", "15: keys.master_key: must be 32 random bytes in base64; make one with: openssl rand"),
        ("master_key: 12", "15: keys.master_key: must be text; put it in quotes"),
        ("master_key: ${NO}", "15: keys.master_key: the environment variable NO is not set; set it, or use a _file"),
    ],
)
def test_a_secret_that_cannot_be_had(tmp_path: Path, problems: Problems, text: str, expected: str) -> None:
    contents = {"empty": b" \n", "binary": b"\xff\xfe", "big": b"a" * 70_000, "short": b"YQ==\n"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    os.mkfifo(tmp_path / "fifo", 0o600)
    (line,) = problems(f"keys:\n  {text}\n", keys="")
    assert line.startswith(f"ingestd.yaml:2:{expected}")


@pytest.mark.parametrize("name", ["../master.key", "/etc/passwd", ".."])
def test_a_credential_is_a_name(tmp_path: Path, problems: Problems, name: str) -> None:
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    (line,) = problems(f"keys:\n  master_key_credential: {name}\n", environ, keys="")
    assert line.endswith("a credential is given by its name in LoadCredential=, not by a path")


@pytest.mark.parametrize("first", ["master_key: x", "master_key_credential: x"])
def test_a_secret_is_given_once(tmp_path: Path, problems: Problems, first: str) -> None:
    _master_key_file(tmp_path)
    (line,) = problems(f"keys:\n  {first}\n  master_key_file: master.key\n", keys="")
    assert line.endswith("give only one of master_key, master_key_file and master_key_credential")


def test_a_database_file_holds_the_address(load_text: Load, tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text(f"postgresql://u:{HIDDEN}@db.example.com/x\n")
    assert load_text("storage: {database_file: dsn}\n").storage.database.endswith("@db.example.com/x")
    assert KEYS.count(MASTER_KEY) == 1


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://u:p@ss:w/o@db/x", "postgresql://u:***@db/x"),
        ("postgresql://db/x?password=p&sslpassword=q&a=b", "postgresql://db/x?password=***&sslpassword=***&a=b"),
        ("postgresql://u@db/x", "postgresql://u@db/x"),
    ],
)
def test_a_password_is_masked(url: str, masked: str) -> None:
    assert mask_url(url) == masked
