from __future__ import annotations

from ingestd.telemetry import reference


def test_the_page_is_up_to_date() -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "run: python -m ingestd.telemetry.reference"


def test_the_page_has_events_and_metrics_with_their_labels() -> None:
    page = reference.page()
    assert "| `mailbox.claimed` | This process now works on the mailbox. |" in page
    assert "| `ingestd_mailboxes` | `state` | Mailboxes, by state. |" in page
    assert "`ingestd_tickets_total`" in page
