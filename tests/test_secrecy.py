"""What searches all logs of the tests finds what is planted in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from ingestd.access import draw_token
from ingestd.demo.grants import Tokens
from ingestd.telemetry import vocabulary
from ingestd.telemetry.metrics import Metrics
from tests import secrecy
from tests.conftest import log_plainly
from tests.office import mail
from tests.secrecy import SECRECY, PersonalLogged, planted

LOG = structlog.get_logger()


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What is planted here is this module's; what is left of it is not for the end of the test."""
    log_plainly()  # a command that another test ran in this process may have set logging up for itself
    yield
    SECRECY.look()


@pytest.mark.parametrize(
    "shown",
    [
        "anna@example.org",
        "Bearer abcdef",
        "whsec_c2VjcmV0",
        draw_token()[0].text,
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.x",
    ],
    ids=["an address", "a header", "a webhook's secret", "a token of the API", "a token of a provider"],
)
def test_forms_are_found_whatever_was_remembered(shown: str) -> None:
    LOG.info(vocabulary.DAEMON_STARTED, reason=shown)
    with pytest.raises(PersonalLogged, match="the test's own log"):
        secrecy.check()


def test_words_of_mails_and_tokens_are_found() -> None:
    mail("Quokkas in the printer", text="They ate the toner.")
    Tokens("the-access-token", "the-refresh-token", 3600, ())
    for shown in ("Quokkas in the printer", "They ate the toner.", "the-access-token", "the-refresh-token"):
        assert secrecy.find(f"so {shown} it is".encode(), SECRECY.words) == [shown.encode()]
    assert secrecy.find(b'{"event": "daemon.started", "messages": 3}', SECRECY.words) == []


def test_another_processs_log_is_found_after_its_file_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "daemon.log"
    with path.open("ab") as log:
        SECRECY.watch(log)
        log.write(b'{"event": "anna@example.org"}\n')
    path.unlink()
    with pytest.raises(PersonalLogged, match=r"daemon\.log"):
        secrecy.check()
    secrecy.check()  # it is told once


def test_metrics_are_looked_at() -> None:
    metrics = Metrics(version="anna@example.org", python_version="3")
    metrics.render()
    with pytest.raises(PersonalLogged, match="metrics"):
        secrecy.check()


def test_what_is_planted_on_purpose_is_let_through_and_nothing_else() -> None:
    with planted("anna@example.org"):
        LOG.info(vocabulary.DAEMON_STARTED, reason="anna@example.org")
    with pytest.raises(PersonalLogged), planted("anna@example.org"):
        LOG.info(vocabulary.DAEMON_STARTED, reason="bert@example.org")
