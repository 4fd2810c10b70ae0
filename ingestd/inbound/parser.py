"""The pool of parser processes: the daemon's side.

A message that kills, hangs or starves its process is rejected, with the reason,
and the process is replaced; the messages of others run in other processes or
wait, and are not hurt. New mail goes before old (a backfill's), which leaves it one
process free where there are several. Of a batch a few small messages are asked for
together, which wakes each side once for all; where that fails, each is asked for alone.
Nothing of a message reaches a log or an error text.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import math
import sys
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

import msgspec

from ingestd.inbound.parser_main import FOLLOWED, LENGTH, MASKED, READY, REQUEST, Header
from ingestd.inbound.parser_places import Places
from ingestd.mail.blobs import CHUNK_BYTES
from ingestd.mail.transform import Transformed

_SLICE_BYTES = 256 * 1024
"""Written at a time, so that the event loop gets its turn between slices of a large message."""
_PIPE_BYTES = 1024 * 1024
"""What a process without privileges may have (pipe(7), pipe-max-size)."""
_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": str(1024 * 1024), "MALLOC_TRIM_THRESHOLD_": str(4 * 1024 * 1024)}
"""glibc gives large blocks back at once (mallopt(3)), and does not keep room for the next large mail; but a few MB it
keeps, or it would give back and ask for the same pages with every mail."""
_TOGETHER_MAX = 8
"""Messages that are asked for together: others wait for them as for one."""
_TOGETHER_BYTES_MAX = 256 * 1024
_TOGETHER_SECONDS_MAX = 2.0
"""A hundred times what they take: where one of them is hostile, little is lost until each is asked for alone."""
_START_SECONDS_MAX = 60.0
_DECODE_IN_THREAD_BYTES = 256 * 1024
_ANSWER_BYTES_MAX = 64 * 1024 * 1024
_CHUNK_BYTES_MAX = CHUNK_BYTES + 64 * 1024
_STOP_SECONDS_MAX = 2.0
# -I ignores PYTHON* variables and the working folder; the root is *appended*, so that a checkout that is not
# installed works and nothing in it can stand before the standard library. -B: a parser writes no files.
_BOOTSTRAP = (
    "import sys; sys.path.append(sys.argv.pop(1)); from ingestd.inbound.parser_main import main; main(sys.argv[1:])"
)
_ROOT = str(Path(__file__).resolve().parents[2])


class ParserRejected(Exception):
    """The parser gave up on this message: quarantine it. `reason` is "timeout", "memory" or "crash"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ParserUnavailable(Exception):
    """No parser process could be started: not the message's fault, try again later."""


def parser_command() -> list[str]:
    """Return the command line of a parser process, without its limits."""
    return [sys.executable, "-I", "-B", "-c", _BOOTSTRAP, _ROOT]


class _Worker:
    """One process and its pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.messages = 0

    @classmethod
    async def start(cls, command: Sequence[str]) -> _Worker:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # a traceback can quote content
            env=_ENVIRONMENT,
            cwd="/",
            close_fds=True,
            start_new_session=True,
            limit=2 * 1024 * 1024,
        )
        worker = cls(process)
        worker._widen()
        try:
            async with asyncio.timeout(_START_SECONDS_MAX):
                await worker.read_frame(len(READY))
        except (TimeoutError, asyncio.IncompleteReadError) as error:
            await worker.kill()
            raise ParserUnavailable("parser process did not start") from error
        except BaseException:
            await worker.kill()
            raise
        return worker

    def _widen(self) -> None:
        """Let most mails go into the pipe at once: each piece costs a turn of the loop."""
        assert self.process.stdin is not None
        pipe = self.process.stdin.get_extra_info("pipe")
        # A limit of the system (pipe(7), pipe-user-pages-soft); or the process has ended at once, which is told later.
        with contextlib.suppress(OSError, ValueError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    async def read_frame(self, length_max: int) -> bytes:
        assert self.process.stdout is not None
        (length,) = LENGTH.unpack(await self.process.stdout.readexactly(LENGTH.size))
        if length > length_max:
            raise asyncio.IncompleteReadError(b"", length)
        return await self.process.stdout.readexactly(length)

    async def transform(self, raws: Sequence[bytes], *, masked: bool) -> list[Transformed]:
        """Ask for messages together; of several none is large."""
        await self._write_requests(raws, masked=masked)
        return [await self._read_answer() for _ in raws]

    async def _write_requests(self, raws: Sequence[bytes], *, masked: bool) -> None:
        stdin = self.process.stdin
        assert stdin is not None
        *others, last = raws
        requests = [part for raw in others for part in (REQUEST.pack(MASKED * masked | FOLLOWED, len(raw)), raw)]
        view = memoryview(last)
        # In one piece, as each would wake the process.
        stdin.write(b"".join([*requests, REQUEST.pack(MASKED * masked, len(last)), view[:_SLICE_BYTES]]))
        for at in range(_SLICE_BYTES, len(view), _SLICE_BYTES):
            await stdin.drain()
            stdin.write(view[at : at + _SLICE_BYTES])
        # What is left is written while we read: the process may answer before it has read all.

    async def _read_answer(self) -> Transformed:
        answer = await self.read_frame(_ANSWER_BYTES_MAX)
        if answer[:1] != b"+":
            raise ParserRejected("memory" if answer[1:] == b"memory" else "crash")
        header = await _decode(answer)
        chunks = [await self.read_frame(_CHUNK_BYTES_MAX) for _ in range(header.chunk_count)]
        return Transformed(
            mail=header.mail,
            chunks=chunks,
            raw_sha256=header.raw_sha256,
            size_bytes=header.size_bytes,
            came=header.came,
        )

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self._reap()

    async def stop(self) -> None:
        """Close stdin, which ends the process; kill it if it does not."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_SECONDS_MAX):
                await self.process.wait()
        except TimeoutError:
            await self.kill()

    async def _reap(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        # Draining lets the pipe transports close even where the child had filled the pipe.
        with contextlib.suppress(Exception):
            await self.process.communicate()


async def _decode(answer: bytes) -> Header:
    def decode() -> Header:
        return msgspec.msgpack.decode(memoryview(answer)[1:], type=Header)

    try:
        return decode() if len(answer) <= _DECODE_IN_THREAD_BYTES else await asyncio.to_thread(decode)
    except msgspec.DecodeError as error:
        raise ParserRejected("crash") from error


class ParserPool:
    """A fixed number of parser processes. Use between `start` and `aclose`, or as an async context."""

    def __init__(
        self,
        *,
        processes: int = 1,
        seconds_max: float = 10.0,
        memory_bytes_max: int = 1024 * 1024 * 1024,
        message_bytes_max: int = 50 * 1024 * 1024,
        messages_max: int = 5000,
        command: Sequence[str] | None = None,
        replaced: Callable[[], None] = lambda: None,
    ) -> None:
        """`seconds_max` of wall time and `memory_bytes_max` of address space are what one message may take.

        A message over `message_bytes_max` is refused with ValueError: the caller hands over its header instead.
        A process is replaced after `messages_max` messages. `replaced` is called for each that is, for metrics.
        """
        if processes < 1:
            raise ValueError("processes must be at least 1")
        self._seconds_max = seconds_max
        self._message_bytes_max = message_bytes_max
        self._messages_max = messages_max
        alarm_seconds = math.ceil(seconds_max) + 5
        self._command = [*(command or parser_command()), str(memory_bytes_max), str(alarm_seconds)]
        self._processes = processes
        self._places: Places[_Worker] = Places(processes)
        self._running: set[_Worker] = set()
        self._started = False
        self._replaced = replaced

    async def start(self) -> None:
        """Start the processes. Raises ParserUnavailable."""
        if self._started:
            return
        self._started = True
        try:
            for _ in range(self._processes):
                self._places.add(await self._start_worker())
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """End all processes; messages in work are rejected as crashed."""
        self._started = False
        running, self._running = list(self._running), set()
        await asyncio.gather(*(worker.stop() for worker in running))

    async def __aenter__(self) -> ParserPool:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def waiting(self, *, live: bool) -> int:
        """Return how many messages wait for a process."""
        return self._places.waiting(live=live)

    async def transform(
        self, raw: bytes, *, live: bool = True, masked: bool = False, owner: Hashable = None
    ) -> Transformed:
        """Transform one message, or a header alone, in a free process; waits for one.

        New mail is `live` and goes before all that is not. Where it is to be `masked`, card numbers are.
        Those of an `owner` take turns with those of others.

        Raises ParserRejected for a message that the parser cannot survive, and
        ParserUnavailable where no process can be had.
        """
        self._check([raw])
        try:
            (done,) = await self._in_free_worker([raw], fresh=False, live=live, masked=masked, owner=owner)
        except ParserRejected as rejected:
            if rejected.reason != "crash":
                raise
            # The process may have died of something else (an operator, the kernel): only a message that kills a
            # fresh one too is guilty.
            (done,) = await self._in_free_worker([raw], fresh=True, live=live, masked=masked, owner=owner)
        return done

    async def transform_all(
        self, raws: Sequence[bytes], *, live: bool = True, masked: bool = False, owner: Hashable = None
    ) -> list[Transformed | ParserRejected]:
        """As `transform`, of each message of a batch, in their order; why one is rejected stands in its place."""
        self._check(raws)
        together = 1 if self._places.is_slow(owner) else min(_TOGETHER_MAX, math.ceil(len(raws) / self._processes))
        try:
            async with asyncio.TaskGroup() as tasks:
                parts = [
                    tasks.create_task(self._transform_part(part, live=live, masked=masked, owner=owner))
                    for part in _parted(raws, together)
                ]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        return [one for part in parts for one in part.result()]

    def _check(self, raws: Sequence[bytes]) -> None:
        if any(len(raw) > self._message_bytes_max for raw in raws):
            raise ValueError("message is over message_bytes_max")
        if not self._started:
            raise ParserUnavailable("parser pool is not running")

    async def _transform_part(
        self, raws: Sequence[bytes], *, live: bool, masked: bool, owner: Hashable
    ) -> list[Transformed | ParserRejected]:
        if len(raws) > 1:
            with contextlib.suppress(ParserRejected):
                return [*await self._in_free_worker(raws, fresh=False, live=live, masked=masked, owner=owner)]
        done: list[Transformed | ParserRejected] = []
        for raw in raws:
            try:
                done.append(await self.transform(raw, live=live, masked=masked, owner=owner))
            except ParserRejected as rejected:
                done.append(rejected)
        return done

    async def _in_free_worker(
        self, raws: Sequence[bytes], *, fresh: bool, live: bool, masked: bool, owner: Hashable
    ) -> list[Transformed]:
        place = await self._places.take(live=live, owner=owner, messages=len(raws))
        worker = place.process
        try:
            if fresh and worker is not None and worker.messages:
                await self._discard(worker)
                worker = None
            worker = await self._alive(worker)
            worker.messages += len(raws)
            transformed = await self._attempt(worker, raws, masked)
            worker = await self._unless_old(worker)
        except BaseException:
            # Also when we are cancelled: the process is in the middle of an answer and cannot be used again.
            if worker is not None:
                await self._discard(worker)
            worker = None
            raise
        else:
            return transformed
        finally:
            self._places.give(place, worker)

    async def _unless_old(self, worker: _Worker) -> _Worker | None:
        """Return the worker, or None where it has done its messages: what a library leaks goes with the process."""
        if worker.messages < self._messages_max:
            return worker
        await self._discard(worker)
        return None

    async def _alive(self, worker: _Worker | None) -> _Worker:
        """Return a running worker: one that died while idle is not the next message's fault."""
        if worker is not None and worker.process.returncode is None:
            return worker
        if worker is not None:
            await self._discard(worker)
        if not self._started:
            raise ParserUnavailable("parser pool is not running")
        return await self._start_worker()

    async def _start_worker(self) -> _Worker:
        try:
            worker = await _Worker.start(self._command)
        except OSError as error:
            raise ParserUnavailable("parser process did not start") from error
        self._running.add(worker)
        return worker

    async def _attempt(self, worker: _Worker, raws: Sequence[bytes], masked: bool) -> list[Transformed]:
        several = len(raws) > 1
        try:
            async with asyncio.timeout(min(self._seconds_max, _TOGETHER_SECONDS_MAX) if several else self._seconds_max):
                return await worker.transform(raws, masked=masked)
        except TimeoutError as error:
            raise ParserRejected("timeout") from error
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise ParserRejected("crash") from error

    async def _discard(self, worker: _Worker) -> None:
        self._running.discard(worker)
        self._replaced()
        await asyncio.shield(worker.kill())


def _parted(raws: Sequence[bytes], count_max: int) -> list[list[bytes]]:
    """Cut into parts of so many messages, and of few bytes; one that is large is alone.

    >>> [len(part) for part in _parted([b"", b"a", b"b", b"c", bytes(_TOGETHER_BYTES_MAX), b"d"], 3)]
    [3, 1, 1, 1]
    """
    parts: list[list[bytes]] = []
    left = 0
    for raw in raws:
        if not parts or len(parts[-1]) >= count_max or len(raw) > left:
            parts.append([])
            left = _TOGETHER_BYTES_MAX
        parts[-1].append(raw)
        left -= len(raw)
    return parts
