"""The daemon: how mail becomes tickets, how replies leave, and how a mailbox is forgotten."""
