"""What a message may cost. Every loop of the mail core stops at one of these."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one parse. What lies beyond them stays in the raw message and becomes a defect."""

    parts_max: int = 500
    depth_max: int = 20
    delimiters_max: int = 100_000
    """Lines of one multipart that begin like its delimiter, whether they are one or not."""
    header_bytes_max: int = 256 * 1024
    """Of one header block; longer ones are read up to here."""
    header_fields_max: int = 1000
    value_bytes_max: int = 64 * 1024
    """Of one unfolded header value."""
    folds_bytes_max: int = 8 * 1024
    """Of a value whose continuations lack the white space that marks them."""
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
    name_chars_max: int = 200
    """Of an attachment's safe name."""
    container_depth_max: int = 4
    """Messages inside signed or TNEF messages inside such messages."""
    tnefs_max: int = 3
    """winmail.dat files of one message that are opened; more of them stay what they are."""
    tnef_attributes_max: int = 20_000
    tnef_properties_max: int = 5000
    """Of one message or attachment, and values of one property."""
    rtf_bytes_max: int = 256 * 1024
    """Of unpacked RTF: it is read in a loop in Python, at about 0.5 MB/s at worst."""
    rtf_depth_max: int = 200
    cms_elements_max: int = 100_000
    """Of a signature's structure; a stream writes its content in pieces of about 1 KB."""
    calendars_max: int = 10
    calendar_bytes_max: int = 256 * 1024
    calendar_observances_max: int = 50
    """Of one zone."""
    calendar_events_max: int = 20
    """Over all calendars of a message."""
    calendar_chars_max: int = 500
    """Of a summary, location or organizer."""


DEFAULT_LIMITS = Limits()
