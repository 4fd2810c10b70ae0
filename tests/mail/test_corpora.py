"""Real mail that other projects collected; not part of the repository, so skipped where it is absent."""

from __future__ import annotations

import importlib.util
import json
import os
import time
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from ingestd.mail.inspection import inspect

CORPORA = Path(os.environ.get("INGESTD_CORPORA", str(Path(__file__).resolve().parents[3] / "shared" / "corpora")))
# What the parser reaches today, less a little: a change that loses any of it must be seen.
LEAST = {
    "subject": 0.99,
    "from": 0.99,
    "from_name": 0.97,
    "to": 0.99,
    "message_id": 0.99,
    "text_contains": 0.96,
    "attachment_count": 0.87,
    "attachments": 0.90,
    "stripped_reply": 0.80,
    "reply_kept": 0.94,
    "quote_cut": 0.92,
    "is_bounce": 0.98,
    "is_auto_reply": 1.0,
    "is_complaint": 1.0,
    "bounce_class": 0.96,
    "bounce_status": 0.96,
    "bounce_reply_code": 0.96,
    "bounce_recipient_count": 0.98,
    "bounce_hard": 0.87,
}


def _score_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("corpora_score", CORPORA / "score.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not (CORPORA / "score.py").exists(), reason="no corpora: set INGESTD_CORPORA")
def test_rates_on_real_mail() -> None:
    score = _score_module()
    good: Counter[str] = Counter()
    asserted: Counter[str] = Counter()
    slow: list[str] = []
    for manifest in sorted(CORPORA.glob("*/manifest.jsonl")):
        for line in manifest.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["kind"] in ("mbox", "mailset"):
                continue
            raw = (manifest.parent / row["file"]).read_bytes()
            if row["kind"] != "mail":
                raw = score.wrap(raw, "html" if row["kind"] == "html" else "plain")
            begun = time.perf_counter()
            found = inspect(raw)
            if time.perf_counter() - begun > 2:
                slow.append(row["file"])
            expected = {key: value for key, value in row["expect"].items() if key not in row.get("quirks", ())}
            for field, passed in score.check(expected, found):
                asserted[field] += passed is not None
                good[field] += passed is True
    assert slow == []
    short = {field: good[field] / asserted[field] for field in LEAST if good[field] < LEAST[field] * asserted[field]}
    assert short == {}
