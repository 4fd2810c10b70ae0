"""The interpreter's own ways to stderr: uncaught exceptions would print their messages there."""

from __future__ import annotations

import sys
import threading
from types import TracebackType

import structlog

from ingestd.telemetry import vocabulary

LEAVES_MAX = 10


def install() -> None:
    """Send uncaught exceptions of threads, of finalizers and of the process through the logs. Call it once,
    after `logs.configure`, and only in the daemon's process: it replaces the interpreter's hooks."""
    sys.excepthook = uncaught
    threading.excepthook = _thread
    sys.unraisablehook = _unraisable


def uncaught(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    """Log what ends the process. Ctrl-C is no failure."""
    if isinstance(error, KeyboardInterrupt):
        return
    for one in _leaves(error)[:LEAVES_MAX]:
        structlog.get_logger().critical(vocabulary.DAEMON_FAILED, exc_info=one)


def _leaves(error: BaseException) -> list[BaseException]:
    """Return what a task group's exception is made of: the group itself tells nothing."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in _leaves(one)]
    return [error]


def _thread(args: threading.ExceptHookArgs) -> None:
    structlog.get_logger().error(vocabulary.TASK_FAILED, component="thread", exc_info=args.exc_value)


def _unraisable(args: sys.UnraisableHookArgs) -> None:
    structlog.get_logger().error(vocabulary.TASK_FAILED, component="finalizer", exc_info=args.exc_value)
