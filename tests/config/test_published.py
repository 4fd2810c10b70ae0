"""The example loads, and the schema and the page are current."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from config import Settings, load
from config.schema import SCHEMA_FILE, TABLES_FILE, json_schema, with_tables

from .conftest import MASTER_KEY, Load, Problems

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "config" / "example.yaml"
ENVIRON = {
    "INGESTD_MASTER_KEY": MASTER_KEY,
    "GOOGLE_CLIENT_SECRET": "x",
    "DATABASE_PASSWORD": "x",
    "KEYSTORE_PASSWORD": "x",
}


def test_the_example_loads_and_names_every_section() -> None:
    settings = load(EXAMPLE, ENVIRON)
    assert set(settings.providers) == {"gmail", "work"}
    assert set(yaml.safe_load(EXAMPLE.read_text())) == set(Settings.model_fields)


def test_the_examples_comments_are_settings_at_their_defaults(tmp_path: Path) -> None:
    """Whoever takes the # away from a line gets what the line says, and outside of the providers no change."""
    lines = EXAMPLE.read_text().splitlines()
    settings = load(EXAMPLE, ENVIRON)
    tried = 0
    for number, line in enumerate(lines):
        match = re.match(r"^( +)# ([a-z_]+): \S", line)
        if not match or match[2].startswith(("master_key_", "client_secret_", "database", "keystore", "token_auth")):
            continue
        file = tmp_path / "example.yaml"
        file.write_text("\n".join([*lines[:number], line.replace("# ", "", 1), *lines[number + 1 :]]))
        changed = load(file, ENVIRON)
        known = {"contact_forms", "start_days", "agents"}
        if match[2] not in known:
            assert changed.model_copy(update={"providers": {}}) == settings.model_copy(update={"providers": {}}), line
        tried += 1
    assert tried > 30


def test_the_example_tells_editors_of_the_schema() -> None:
    first = EXAMPLE.read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema=../{SCHEMA_FILE}"


def test_the_schema_is_current() -> None:
    assert (ROOT / SCHEMA_FILE).read_text() == json_schema(), "run: python -m config.schema"


def test_the_page_is_current() -> None:
    page = (ROOT / TABLES_FILE).read_text()
    assert page == with_tables(page), "run: python -m config.schema"


def test_the_schema_knows_the_ways_to_give_a_secret() -> None:
    definitions = json.loads(json_schema())["$defs"]
    assert [each["required"] for each in definitions["Keys"]["oneOf"]] == [
        ["master_key"],
        ["master_key_file"],
        ["master_key_credential"],
    ]
    for name in ("OAuth", "GoogleOAuth"):
        assert {"client_secret", "client_secret_file", "client_secret_credential"} <= set(
            definitions[name]["properties"]
        )
    assert {"database_file", "keystore_credential"} <= set(definitions["Storage"]["properties"])
    assert {"type": "string", "pattern": r"\$\{"} in definitions["Api"]["properties"]["listen_port"]["anyOf"]


def test_a_page_without_a_place_for_the_tables_is_refused() -> None:
    with pytest.raises(ValueError, match="must hold the lines"):
        with_tables("# Configuration\n")


def test_the_errors_that_the_page_shows_are_real(problems: Problems, tmp_path: Path) -> None:
    page = (ROOT / TABLES_FILE).read_text()
    shown = page.split("3 problems in the configuration:\n")[1].split("```")[0].splitlines()
    (tmp_path / "master.key").write_text(MASTER_KEY)
    (tmp_path / "master.key").chmod(0o644)
    text = "# a\napi:\n  listen_prt: 1\n\ninbound:\n  poll_seconds: often\n\nkeys:\n  master_key_file: master.key\n"
    assert problems(text, keys="") == [line.replace("/etc/ingestd/", "") for line in shown]


def test_the_smallest_file_of_the_page_loads(load_text: Load, tmp_path: Path) -> None:
    page = (ROOT / TABLES_FILE).read_text()
    text = page.split("```yaml\n")[1].split("```")[0].replace("/etc/ingestd/", "")
    (tmp_path / "master.key").write_text(MASTER_KEY)
    (tmp_path / "master.key").chmod(0o600)
    assert load_text(text, ENVIRON, keys="").provider("gmail").kind == "google"
