"""The guides of the providers: each configuration in them loads, and each preset has one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from config.presets import PRESETS

from .conftest import Load

GUIDES = Path(__file__).resolve().parents[2] / "docs" / "providers"
KINDS = ("generic", *PRESETS)
_BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(kind, block, id=f"{kind}-{number}")
    for kind in KINDS
    for number, block in enumerate(_BLOCK.findall((GUIDES / f"{kind}.md").read_text()))
]


def test_every_guide_shows_a_configuration() -> None:
    shown = [block.values[0] for block in BLOCKS]
    assert {kind: shown.count(kind) for kind in KINDS if not shown.count(kind)} == {}


@pytest.mark.parametrize(("kind", "block"), BLOCKS)
def test_the_configurations_load(load_text: Load, tmp_path: Path, kind: str, block: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text('{"client_email": "x", "private_key": "x"}')  # whichever secret it is
    secret.chmod(0o600)
    names = re.findall(r"\$\{(\w+)\}", block)
    settings = load_text(re.sub(r"/run/secrets/\w+", str(secret), block), dict.fromkeys(names, "x"))
    assert {settings.provider(name).kind for name in settings.providers} == {kind}


@pytest.mark.parametrize("kind", KINDS)
def test_a_guide_says_what_people_look_for(kind: str) -> None:
    text = (GUIDES / f"{kind}.md").read_text()
    sections = ["What to register", "Scopes", "Configuration", "What the owner sees", "Typical errors", "Limits"]
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [*sections, "How our access is taken away"]
    assert "ever tried" in text


@pytest.mark.parametrize("kind", PRESETS)
def test_a_guide_names_its_presets_scopes_and_page(load_text: Load, kind: str) -> None:
    text = (GUIDES / f"{kind}.md").read_text()
    provider = load_text(f"providers: {{p: {{kind: {kind}, oauth: {{client_id: x, client_secret: y}}}}}}\n").provider(
        "p"
    )
    assert [scope for scope in provider.oauth.scopes if f"`{scope}`" not in text] == []
    assert f"<{provider.removal_page}>" in text


def test_the_index_names_every_guide() -> None:
    index = (GUIDES / "README.md").read_text()
    assert {f"{kind}.md" for kind in KINDS} == set(re.findall(r"\]\((\w+\.md)\)", index))
