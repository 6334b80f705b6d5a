"""One process that a stack starts, watches and ends: it says when it is ready, and dies with its parent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from isochrone.errors import IsochroneError

Kind = Literal["redis", "node", "router"]
Log = Path | Callable[[str, str], None]
"""Where a child's output goes: a folder, as `<name>.log`, or a function of the child's name and one line."""

_TAIL_LINES = 12
_TAIL_BYTES = 16 * 1024
_LINE_BYTES = 2**20

# Runs between the fork and the program itself: asks the kernel for SIGTERM when the parent dies. A preexec_fn
# would do the same, but in a forked copy of a process that may have gRPC's threads; this one starts clean.
_LEASH = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
if os.getppid() == int(sys.argv[1]):  # else the parent was gone before the kernel was told
    os.execvp(sys.argv[2], sys.argv[2:])
"""


class StackError(IsochroneError):
    """A process of the stack could not be started, or ended when it should not have."""

    reason = "STACK"


class Child:
    """A process of the stack, the same object through its restarts.

    It is ready when it has written its addresses to the `--ready-fd` it was given or, with a `probe`, when
    that answers True. Signals: SIGTERM drains it, a second one or SIGKILL ends it at once.
    """

    def __init__(
        self,
        *,
        name: str,
        kind: Kind,
        command: Sequence[str],
        log: Log,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        probe: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self.name = name
        self.kind: Kind = kind
        self.address = ""
        """Where it serves, as it said itself: "127.0.0.1:50051", "unix:/tmp/…"."""
        self.admin = ""
        """Where its admin HTTP is, "127.0.0.1:8080"; empty if it has none."""
        self.api = ""
        """Where a node serves its own API."""
        self.starts = 0
        """How often it was started."""
        self.stopping = False
        """Whether its end is wanted, so that it is not one to report."""
        self._command = tuple(command)
        self._log = log
        self._env = {**os.environ, **(env or {})}
        self._cwd = cwd
        self._probe = probe
        self._process: asyncio.subprocess.Process | None = None
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._pump: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        at = f", at {self.address}" if self.address else ""
        return f"<{self.kind} {self.name}: {self._state}{at}>"

    @property
    def _state(self) -> str:
        if self.running:
            return f"pid {self.pid}"
        return in_words(self.exit_code) if self.starts else "not started"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        """Its process id, of its last life where it has ended."""
        return self._process.pid if self._process else None

    @property
    def exit_code(self) -> int | None:
        """Minus the signal's number where one ended it; None while it runs."""
        return self._process.returncode if self._process else None

    async def start(self, *, timeout_s: float) -> None:
        """Starts it and waits until it is ready. Raises StackError with its last words; nothing runs then."""
        if self.running:
            raise StackError(f"{self.name} runs already, pid {self.pid}")
        self.stopping, self.starts = False, self.starts + 1
        self._tail.clear()
        began = self._log_size()
        try:
            async with asyncio.timeout(timeout_s):
                await (self._start_probed() if self._probe else self._start_announced())
        except TimeoutError:
            await self.stop(0)
            raise StackError(self._last_words(f"was not ready within {timeout_s:g} s", began)) from None
        except BaseException:
            await self.stop(0)
            raise
        if not self.running:
            code = self.exit_code
            await self.stop(0)
            raise StackError(self._last_words(f"ended before it was ready, {in_words(code)}", began))

    def send(self, number: int) -> None:
        """Sends it a signal, if it still runs."""
        if self._process is not None and self.running:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it at once, with whatever it started itself."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        if self._process is None:
            raise StackError(f"{self.name} was never started")
        return await self._process.wait()

    async def stop(self, grace_s: float) -> None:
        """Lets it drain for up to `grace_s`, then ends it. Does nothing to one that has ended."""
        self.stopping = True
        if self._process is None:
            return
        try:
            if self.running and grace_s > 0:
                self.send(signal.SIGTERM)
                self.send(signal.SIGCONT)  # a stopped process would not see the first
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(grace_s):
                        await self._process.wait()
        finally:
            self.kill()
            await self._process.wait()
            if self._pump is not None:  # what it started and let go of may still hold the pipe
                await asyncio.wait({self._pump}, timeout=1)
                self._pump.cancel()

    async def _start_announced(self) -> None:
        read_fd, write_fd = os.pipe()
        try:
            await self._spawn(("--ready-fd", str(write_fd)), pass_fds=(write_fd,))
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        async with _reading(read_fd) as reader:
            line = await reader.readline()
        if not line:
            await self.wait()
            return
        try:
            said = json.loads(line)
            self.address = str(said["listen"])
            self.admin, self.api = str(said.get("admin") or ""), str(said.get("api") or "")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StackError(f"{self.name} announced {line!r}: not a JSON object with 'listen'") from None

    async def _start_probed(self) -> None:
        assert self._probe is not None
        await self._spawn(())
        pause_s = 0.002
        while self.running and not await self._probe():
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 0.05)

    async def _spawn(self, more: tuple[str, ...], pass_fds: tuple[int, ...] = ()) -> None:
        with contextlib.ExitStack() as files:
            sink: int = asyncio.subprocess.PIPE
            if isinstance(self._log, Path):
                sink = files.enter_context(self._log_file.open("ab")).fileno()
            # A session of its own: Ctrl-C in the terminal is the stack's to pass on, once, as SIGTERM.
            self._process = await asyncio.create_subprocess_exec(
                *_leashed((*self._command, *more)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=sink,
                stderr=asyncio.subprocess.STDOUT,
                env=self._env,
                cwd=self._cwd,
                pass_fds=pass_fds,
                start_new_session=True,
                limit=_LINE_BYTES,
            )
        if self._process.stdout is not None and not isinstance(self._log, Path):
            self._pump = asyncio.create_task(self._carry(self._process.stdout, self._log))

    async def _carry(self, lines: asyncio.StreamReader, log: Callable[[str, str], None]) -> None:
        """Passes its output on, line by line, until it closes."""
        while True:
            try:
                line = await lines.readline()
            except ValueError:  # a line of over a megabyte: the reader has dropped it
                continue
            if not line:
                return
            text = line.decode(errors="replace").rstrip("\n")
            self._tail.append(text)
            log(self.name, text)

    @property
    def _log_file(self) -> Path:
        assert isinstance(self._log, Path)
        return self._log / f"{self.name}.log"

    def _log_size(self) -> int:
        return self._log_file.stat().st_size if isinstance(self._log, Path) and self._log_file.exists() else 0

    def _last_words(self, what: str, began: int) -> str:
        """What happened to it, with the last lines it wrote since byte `began` of its log."""
        lines = list(self._tail)
        if isinstance(self._log, Path) and self._log_file.exists():
            with self._log_file.open("rb") as file:
                file.seek(max(began, self._log_size() - _TAIL_BYTES))
                lines = file.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
        return "\n".join([f"{self.name} {what}", *(f"  | {line}" for line in lines)])


def in_words(code: int | None) -> str:
    """An exit code as a person says it: "exit code 1", "killed by SIGKILL"."""
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _leashed(command: Sequence[str]) -> tuple[str, ...]:
    if sys.platform != "linux":  # pragma: no cover
        return tuple(command)
    return (sys.executable, "-I", "-S", "-c", _LEASH, str(os.getpid()), *command)


@contextlib.asynccontextmanager
async def _reading(fd: int) -> AsyncIterator[asyncio.StreamReader]:
    """A stream over the reading end of a pipe, closed afterwards."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", buffering=0)
    )
    try:
        yield reader
    finally:
        transport.close()
