"""Fixtures of the deployment tests: the unit's tools, and the story's servers."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.deploy.image import Image
from tests.story.conftest import auth_server, certificates, dovecot, new_user, postfix, servers

__all__ = ["auth_server", "certificates", "dovecot", "new_user", "postfix", "servers"]

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def tool(name: str, option: str = "--servers") -> str:
    """Return the path of a program that `deploy/dev/setup.sh OPTION` sees to.

    In CI one that is missing is a failure, elsewhere a skip.
    """
    # Where deploy/dev/setup.sh puts what it does not install.
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        text = f"{name} is missing: run deploy/dev/setup.sh {option}"
        if os.environ.get("CI"):
            pytest.fail(text, pytrace=False)
        pytest.skip(text)
    return found


@pytest.fixture(scope="session")
def image() -> Image:
    """The image, built anew once for all tests that ask for it. Needs root."""
    for name in ("buildah", "debootstrap"):
        tool(name, "--image")
    return Image.build()
