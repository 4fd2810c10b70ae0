"""The consistency checker: the four promises as invariants over a database, its key store and its blobs.

An invariant is a small function whose docstring states its promise in one sentence;
`INVARIANTS` lists them all, and `verify` runs them. It only reads, in bounded pages,
and needs no stopped daemon: what looks wrong is looked at twice.
"""

from ingestd.verify.check import INVARIANTS, verify
from ingestd.verify.report import Invariant, Report, Violation, name_of, promise_of

__all__ = ["INVARIANTS", "Invariant", "Report", "Violation", "name_of", "promise_of", "verify"]
