"""What a message may cost. Every loop of the mail core stops at one of these."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one parse. What lies beyond them stays in the raw message and becomes a defect."""

    parts_max: int = 500
    depth_max: int = 20
    header_bytes_max: int = 256 * 1024
    """Of one header block; longer ones are read up to here."""
    header_fields_max: int = 1000
    value_bytes_max: int = 64 * 1024
    """Of one unfolded header value."""
    addresses_max: int = 500
    """In one header."""
    references_max: int = 100
    text_bytes_max: int = 2 * 1024 * 1024
    """Encoded bytes of text that are turned into `text` and `html`, over all parts."""
    html_depth_max: int = 150
    html_attributes_max: int = 64
    """Of one tag."""
    html_tags_max: int = 60_000
    """Of one part, start and end tags; the text behind them is kept."""
    html_reopened_max: int = 500
    """Elements that are opened again because tags overlap."""
    html_data_url_chars_max: int = 1024 * 1024
    """Of one image that lies in its own URL."""
    name_chars_max: int = 150
    """Of an attachment's safe name."""


DEFAULT_LIMITS = Limits()
