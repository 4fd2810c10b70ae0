"""The consent page of the demo's authorization server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from fastapi.responses import HTMLResponse

_HEADERS = {
    "Cache-Control": "no-store",
    # No form-action: browsers apply it to the redirect that follows the form, too.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}


def consent_page(client_id: str, params: Mapping[str, str], addresses: Iterable[str]) -> HTMLResponse:
    """Ask which mailbox to open for `client_id`; the form brings back all `params`."""
    kept = {name: value for name, value in params.items() if name not in {"user", "decision"}}
    hidden = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in kept.items()
    )
    hint = params.get("login_hint")
    options = "".join(
        f'<option value="{escape(address)}"{" selected" if address == hint else ""}>{escape(address)}</option>'
        for address in addresses
    )
    return HTMLResponse(
        f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Demo provider</title>
<style>body {{ font: 1rem sans-serif; max-width: 30rem; margin: 4rem auto }} button {{ font: inherit }}</style>
<h1>Open a mailbox to {escape(client_id)}?</h1>
<p>It asks for: {escape(params.get("scope", ""))}</p>
<form method="post" action="/authorize">{hidden}
<p><label>Mailbox: <select name="user">{options}</select></label></p>
<button name="decision" value="allow">Allow</button> <button name="decision" value="deny">Deny</button>
</form></html>
""",
        headers=_HEADERS,
    )
