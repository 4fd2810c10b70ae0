"""The local provider of `ingestd demo` and of the tests: an authorization server, IMAP and submission on loopback."""
