"""The engine that runs in this process: a step loop in a thread of its own, beside the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import TypeVar

import torch

from isochrone.deadline import Clock, Deadline, monotonic
from isochrone.errors import ConfigError, IsochroneError, Overloaded, Unavailable
from isochrone.incidents import incident
from isochrone_llm.engine import Delta, EngineStats, Finish, Limits, SamplingParams
from isochrone_llm.folder import LlamaFolder
from isochrone_llm.generation import Generation
from isochrone_llm.runner import Runner
from isochrone_llm.step_loop import Said, StepLoop
from isochrone_llm.stream import Mailbox, Stream

log = logging.getLogger(__name__)

PREFILL_TOKENS = 512
"""Of prompts in one step. Who runs waits for them, so it bounds the longest pause between two tokens."""
MAX_WAITING = 256
RETRY_AFTER_S = 0.5
_T = TypeVar("_T")


class TorchEngine:
    """Continuous batching over a Llama in torch. An `Engine`."""

    def __init__(
        self,
        llama: LlamaFolder,
        *,
        limits: Limits,
        threads: int = 1,
        max_waiting: int = MAX_WAITING,
        prefill_tokens: int = PREFILL_TOKENS,
        say_every_s: float = 0.0,
        clock: Clock = monotonic,
    ) -> None:
        """`threads` are those of one forward; past `max_waiting` prompts that can't run yet, submits are refused. What
        comes of a text within `say_every_s` is one delta, the first token at once.

        Raises ConfigError where the limits are more than the model has.
        """
        context = llama.model.config.max_position_embeddings
        if limits.max_context > context:
            raise ConfigError(f"max_context: {limits.max_context:,} tokens; the model has {context:,} positions")
        self.limits = limits
        self._llama = llama
        self._threads = threads
        self._max_live = limits.max_seqs + max_waiting
        self._loop = StepLoop(
            Runner(llama.model, slots=limits.max_seqs, context=limits.max_context),
            limits=limits,
            prefill_tokens=prefill_tokens,
            end_tokens=llama.end_tokens,
            clock=clock,
            say_every_s=say_every_s,
        )
        self._thread = threading.Thread(target=self._run, name="llm-engine", daemon=True)
        self._submitted: SimpleQueue[Generation | None] = SimpleQueue()
        """None wakes the thread to look at `_stopped`."""
        self._stopped = False
        self._busy = (0, 0)
        """Sequences that run and tokens that they hold, after the last step."""
        # Below: the event loop's. A generation is live until its last delta was put into its mailbox.
        self._live: dict[str, tuple[Generation, Mailbox]] = {}
        self._events: asyncio.AbstractEventLoop | None = None
        self._open = False
        self._drained = asyncio.Event()
        self._over = asyncio.Event()
        self._fault: IsochroneError | None = None

    def __repr__(self) -> str:
        state = "open" if self._open else "closed"
        return f"<TorchEngine of {self._llama}, {state}, {self.stats()!r}>"

    async def start(self) -> None:
        """Makes ready to run. Called once, on the event loop that prompts are submitted from."""
        self._events = asyncio.get_running_loop()
        self._thread.start()
        self._open = True

    async def watch(self) -> None:
        """Until it is closed. Raises the error that it can't go on after."""
        await self._over.wait()
        if self._fault is not None:
            raise self._fault

    async def close(self, *, drain_s: float) -> None:
        """Takes no more prompts, lets those there are go on for `drain_s`, and ends the rest as CLOSED."""
        self._open = False
        self._over.set()
        if not self._thread.ident:
            return
        try:
            if self._live:
                async with asyncio.timeout(drain_s):
                    await self._drained.wait()
        except TimeoutError:
            log.info("closing with %d prompts unfinished", len(self._live))
        finally:
            self._stopped = True
            self._submitted.put(None)
        # Its last words are on their way to the event loop before it ends, and so come before this goes on.
        await asyncio.to_thread(self._thread.join)

    def submit(self, request_id: str, token_ids: Sequence[int], params: SamplingParams, deadline: Deadline) -> Stream:
        """The text that goes on from the prompt, in deltas; it is made whether or not they are read.

        Raises InvalidRequest where the prompt doesn't fit the limits, Overloaded where too many wait, Unavailable
        before `start` and after `close`, and ValueError where a prompt of that id is still being answered.
        """
        if not self._open:
            raise Unavailable("the engine is closed")
        self.limits.check(token_ids, params)
        if request_id in self._live:
            raise ValueError(f"{request_id}: a prompt of that id is still being answered")
        if len(self._live) >= self._max_live:
            raise Overloaded(f"{len(self._live)} prompts run or wait; no more may", retry_after_s=RETRY_AFTER_S)
        generation = Generation(request_id, token_ids, params, deadline, decode=self._llama.codec.decode)
        mailbox = Mailbox()
        self._live[request_id] = generation, mailbox
        self._drained.clear()
        self._submitted.put(generation)
        return Stream(mailbox, cancel=generation.cancel)

    def cancel(self, request_id: str) -> None:
        """Ends the prompt of that id, at the next step. Nothing happens where there is none."""
        if request_id in self._live:
            self._live[request_id][0].cancel()

    def stats(self) -> EngineStats:
        """As of the last step."""
        active, kv_used = self._busy
        return EngineStats(active=active, waiting=max(0, len(self._live) - active), kv_used=kv_used)

    def _run(self) -> None:
        """The thread: steps while there is anything to do. Nobody is left waiting, however it ends."""
        try:
            torch.set_num_threads(self._threads)
            with torch.inference_mode():
                while not self._stopped:
                    self._take_submitted()
                    self._say(self._step())
                self._take_submitted()
                self._say(self._loop.end_all(Finish.CLOSED))
        except Exception as error:
            self._call(self._abandon, incident("the engine's thread ended", error))

    def _step(self) -> Sequence[Said]:
        try:
            return self._loop.step()
        except Exception as error:
            return self._loop.end_all(Finish.FAILED, error=incident("a step of the engine raised", error))

    def _take_submitted(self) -> None:
        """Takes in what was submitted; waits for it when there is nothing else to do."""
        while not self._submitted.empty() or (self._loop.idle and not self._stopped):
            generation = self._submitted.get()
            if generation is not None:
                self._loop.add(generation)

    def _say(self, said: Sequence[Said]) -> None:
        """Hands what a step has to say to the event loop, all at once: waking it costs as much as a small layer."""
        self._busy = (self._loop.active, self._loop.kv_used)
        if said:
            self._call(self._deliver, said)

    def _call(self, function: Callable[[_T], None], argument: _T) -> None:
        """Has the event loop call it."""
        assert self._events is not None
        try:
            self._events.call_soon_threadsafe(function, argument)
        except RuntimeError:  # it was closed before this engine was: nobody listens
            self._stopped = True

    def _deliver(self, said: Sequence[Said]) -> None:
        for generation, delta in said:
            self._live[generation.request_id][1].put(delta)
            if delta.finish is not None:
                del self._live[generation.request_id]
        if not self._live:
            self._drained.set()

    def _abandon(self, fault: IsochroneError) -> None:
        """Ends everyone, where the thread no longer can."""
        self._open = False
        self._busy = (0, 0)
        self._fault = fault
        self._over.set()
        self._deliver(
            [
                Said(generation, Delta("", (), generation.completion_tokens, Finish.FAILED, fault))
                for generation, _ in self._live.values()
            ]
        )
