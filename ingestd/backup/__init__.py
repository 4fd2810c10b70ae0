"""Backups: copies of the content or of the key store, never of both, and stores made of them again.

A backup is a folder of our own row files, the same for SQLite and PostgreSQL: a copy of the
one can be restored into the other. Sealed content stays sealed in it.
"""
