"""Writes configurations to a folder, and loads them with an environment of the test's own."""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from config import ConfigError, Settings, load

MASTER_KEY = base64.b64encode(bytes(range(32))).decode()
KEYS = f"keys: {{master_key: {MASTER_KEY}}}\n"
"""One line: what a test writes after it begins at line 2."""

Load = Callable[..., Settings]
Problems = Callable[..., list[str]]


@pytest.fixture
def load_text(tmp_path: Path) -> Load:
    """Load a text, after the line that gives the master key."""

    def run(text: str | bytes, environ: Mapping[str, str] | None = None, *, keys: str = KEYS) -> Settings:
        file = tmp_path / "ingestd.yaml"
        body = text if isinstance(text, bytes) else (keys + textwrap.dedent(text)).encode()
        file.write_bytes(body)
        return load(file, environ or {})

    return run


@pytest.fixture
def problems(load_text: Load, tmp_path: Path) -> Problems:
    """Load a text that must be refused; return the error's lines, without the folder."""

    def run(text: str | bytes, environ: Mapping[str, str] | None = None, *, keys: str = KEYS) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load_text(text, environ, keys=keys)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        lines = str(caught.value).replace(f"{tmp_path}/", "").splitlines()
        assert len(lines) == 1 + len(caught.value.problems)
        return lines[1:]

    return run
