"""The four packages are ours alone, typed, and complete."""

from __future__ import annotations

from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

OURS = ("ingestd", "connectors", "storage", "config")
ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", OURS)
def test_no_other_distribution_provides_the_package(name: str) -> None:
    """`config` and `storage` are common names: whichever is installed last would win."""
    assert set(packages_distributions().get(name, [])) <= {"ingestd"}


@pytest.mark.parametrize("name", OURS)
def test_every_package_is_typed(name: str) -> None:
    assert (ROOT / name / "py.typed").is_file()


@pytest.mark.parametrize("name", OURS)
def test_every_folder_with_modules_is_a_package(name: str) -> None:
    # Alembic loads migrations by their path; they are never imported.
    folders = {file.parent for file in (ROOT / name).rglob("*.py") if "migrations" not in file.parts}
    assert folders
    assert [str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").is_file()] == []
