"""What a reload takes over, and what it leaves for a restart."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from config import Settings, plan_reload
from config.reload import RESTART

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


def settings(**sections: Any) -> Settings:
    return TypeAdapter(Settings).validate_python({"keys": {"master_key": KEY}, **sections})


def test_the_same_configuration_changes_nothing() -> None:
    one = settings(logging={"level": "debug"})
    again = plan_reload(one, settings(logging={"level": "debug"}))
    assert (again.settings, again.applied, again.kept) == (one, (), ())


def test_a_section_is_taken_over_but_for_what_needs_a_restart() -> None:
    old = settings()
    new = settings(logging={"level": "debug"}, inbound={"poll_seconds": 5, "imap_threads": 3}, api={"listen_port": 1})
    found = plan_reload(old, new)
    assert found.applied == ("inbound", "logging")
    assert found.kept == ("api", "inbound.imap_threads")
    assert found.settings.inbound.poll_seconds == 5
    assert found.settings.inbound.imap_threads == old.inbound.imap_threads
    assert found.settings.logging.level == "debug"
    assert found.settings.api == old.api


def test_a_change_that_only_waits_is_not_said_to_be_applied() -> None:
    found = plan_reload(settings(), settings(inbound={"lease_seconds": 20}))
    assert (found.applied, found.kept) == ((), ("inbound.lease_seconds",))


@pytest.mark.parametrize("name", sorted(RESTART))
def test_what_needs_a_restart_is_a_setting(name: str) -> None:
    section, _, field = name.partition(".")
    assert section in Settings.model_fields
    assert not field or field in type(getattr(settings(), section)).model_fields
