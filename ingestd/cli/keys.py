"""keys: the master key that wraps all others."""

from __future__ import annotations

import sys

import click

from ingestd.build.store import Store
from ingestd.cli.common import Trouble, json_option, print_fields, print_json, with_store
from ingestd.privacy.disconnect import compact
from storage import keystore, leases
from storage.errors import MasterKeyWrong


@click.group()
def keys() -> None:
    """The master key: rotate."""


@keys.command()
@click.option("--running", is_flag=True, help="The daemons that run were restarted with both keys in their file.")
@json_option
@with_store
async def rotate(store: Store, running: bool, as_json: bool) -> None:
    """Wrap every key anew by `keys.master_key`, where it is wrapped by `keys.previous_master_key`.

    Put the new key into the configuration, and the one that was there under `previous_master_key`; restart the daemons,
    and call this. It may be interrupted, and called again. Then take the previous key out of the configuration; keep
    it as long as copies of the key store from before.
    """
    if store.settings.keys.previous_master_key is None:
        raise Trouble(
            "there is no previous master key in the configuration: put the new key under keys.master_key, and the one "
            "that was there under keys.previous_master_key"
        )
    alive = await store.content.read(None, leases.others_alive, None, store.settings.inbound.lease_seconds)
    if alive and not running:
        raise Trouble(
            "a daemon runs: one that has the previous key alone could open nothing any more. Restart it with this "
            "configuration, and say --running"
        )
    count = await store.keystore.read(None, keystore.count_other_keys, store.keys.master_key_id)
    try:
        hidden = not sys.stderr.isatty()
        with click.progressbar(length=count, label="wrapping keys", file=sys.stderr, hidden=hidden) as bar:
            done = await store.keys.rotate(bar.update)
    except MasterKeyWrong as error:
        raise Trouble(str(error)) from error
    finally:
        await compact(store.keystore)  # the keys as they were wrapped before may still lie in the WAL
    fields = {"keys": done.keys, "tokens": done.tokens, "master_key_id": store.keys.master_key_id}
    if as_json:
        print_json(fields)
        return
    print_fields(fields)
    click.echo("Every key is wrapped by the new master key. Take keys.previous_master_key out of the configuration.")
