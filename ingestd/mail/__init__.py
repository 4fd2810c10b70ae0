"""The mail core: bytes and values in, values out. No I/O, clock, randomness or logging.

One concept a file; `transform` is what the parser process runs on a message.
"""

OWN_HEADER = "X-Ingestd-Id"
"""The header of ours that carries a reply's token; `connectors.base.OWN_HEADER` has the same value."""
