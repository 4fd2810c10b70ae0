"""Receipts as signed statements: others check them with their own tools, and no change of them passes."""

from __future__ import annotations

import base64
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ingestd.privacy.receipts import Forgetting, find_forgetting
from ingestd.privacy.statement import Signer, StatementWrong, pem, read_pem, read_statement, signer_of
from storage import erasures, mailboxes
from tests.office import Office, mail
from tests.stores import Stores
from tests.test_maintenance import maintenance

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


async def forgotten(stores: Stores) -> tuple[Office, Forgetting]:
    office = await Office.open(stores)
    await office.take(mail())
    account_id, mailbox_id = office.held.account_id, office.held.mailbox_id
    await stores.content.transaction(account_id, mailboxes.start_disconnect, mailbox_id)
    await stores.content.transaction(account_id, erasures.insert_erasure, mailbox_id)
    before = await find_forgetting(stores.content, stores.keystore, account_id, mailbox_id)
    assert signer_of(office.keys).sign(account_id, before, NOW) is None
    (erasure,) = await stores.content.read(None, erasures.list_erasures)
    await maintenance(office).eraser.run(erasure)
    return office, await find_forgetting(stores.content, stores.keystore, account_id, mailbox_id)


@pytest.fixture
async def statement(stores: Stores) -> tuple[str, Signer, Office]:
    office, found = await forgotten(stores)
    signer = signer_of(office.keys)
    signed = signer.sign(office.held.account_id, found, NOW)
    assert signed is not None
    return signed, signer, office


@pytest.mark.postgresql_is_long
async def test_it_says_what_was_forgotten_and_nothing_personal(statement: tuple[str, Signer, Office]) -> None:
    signed, signer, office = statement
    said = read_statement(signed, signer.public_key)
    assert (said["sub"], said["account_id"]) == (str(office.held.mailbox_id), str(office.held.account_id))
    receipt = said["receipt"]
    assert (receipt["deleted"]["messages"], receipt["left"], receipt["revocation"]) == (1, {}, "nothing_to_revoke")
    assert len(receipt["key_fingerprint"]) == 32
    assert said["readable_with"].startswith("copies of the key store made before 20")
    assert said["ledger"]["sequence"] == 2
    payload = json.dumps(said)
    assert "example" not in payload
    assert "Printer" not in payload


@pytest.mark.postgresql_is_long
async def test_openssl_takes_it(statement: tuple[str, Signer, Office], tmp_path: Path) -> None:
    signed, signer, _ = statement
    covered, _, signature = signed.rpartition(".")
    (tmp_path / "key.pem").write_text(pem(signer.public_key))
    (tmp_path / "signature").write_bytes(base64.urlsafe_b64decode(signature + "=="))
    (tmp_path / "text").write_text(covered)
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin", "-in", "text"]
    done = subprocess.run([*command, "-sigfile", "signature"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.postgresql_is_long
async def test_what_was_changed_or_signed_by_another_is_refused(statement: tuple[str, Signer, Office]) -> None:
    signed, signer, _ = statement
    header, payload, signature = signed.split(".")
    said = json.loads(base64.urlsafe_b64decode(payload + "=="))
    said["receipt"]["left"] = {"messages": 1}
    forged = base64.urlsafe_b64encode(json.dumps(said).encode()).rstrip(b"=").decode()
    other, bare = Signer(bytes(32)), base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    cases = {
        f"{header}.{forged}.{signature}": "was changed",
        f"{bare}.{payload}.": "no signed receipt",
        "words": "no signed receipt",
        "": "no signed receipt",
    }
    for token, why in cases.items():
        with pytest.raises(StatementWrong, match=why):
            read_statement(token, signer.public_key)
    with pytest.raises(StatementWrong, match="another key"):
        read_statement(signed, other.public_key)
    with pytest.raises(StatementWrong, match="no public key"):
        read_pem(b"words")
    assert read_pem(pem(signer.public_key).encode()) == signer.public_key
