"""Shell completion: the script that a shell reads to complete `ingestd` commands with the Tab key."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    bash: ingestd completion bash > /etc/bash_completion.d/ingestd ·
    zsh: ingestd completion zsh > "${fpath[1]}/_ingestd" ·
    fish: ingestd completion fish > ~/.config/fish/completions/ingestd.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    root = context.find_root().command
    click.echo(found(root, {}, "ingestd", "_INGESTD_COMPLETE").source())
