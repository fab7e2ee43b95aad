"""The writer: one thread that alone touches the file, and does one thing after the other."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from towpath.store.file import File

__all__ = ["Writer"]

T = TypeVar("T")
_Done = Callable[[object, BaseException | None], None]
_Job = tuple[Callable[[File], object], _Done]


class Writer:
    """Runs jobs on the file of `path` (None: in memory) in the order in which they were asked for.

    The thread sleeps while there is nothing to do. `close` ends it; a process may also just end, even by SIGKILL.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._closing = False
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="store", daemon=True)
        self._thread.start()

    def run(self, job: Callable[[File], T]) -> asyncio.Future[T]:
        """What `job` returns or raises; sqlite3.OperationalError when there is no file yet and none can be made now."""
        future: asyncio.Future[T] = self._loop.create_future()

        def settle(result: object, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(result)  # type: ignore[arg-type]
            else:
                future.set_exception(error)

        self._jobs.put((job, settle))
        return future

    async def close(self) -> None:
        """Closes the file and ends the thread, after everything asked for before."""
        if not self._closing:
            self._closing = True
            self._jobs.put(None)
        await self._ended.wait()
        self._thread.join()

    def _work(self) -> None:
        file: File | None = None
        while (item := self._jobs.get()) is not None:
            job, done = item
            try:
                if file is None:
                    file = File(self._path, self._clock())
                result = job(file)
            except BaseException as e:  # noqa: BLE001 - whatever it is, the asker gets it
                self._tell(done, None, e)
            else:
                self._tell(done, result, None)
            # Not kept until the next job, which may be hours away.
            del item, job, done
        if file is not None:
            file.close()
        self._tell(lambda _result, _error: self._ended.set(), None, None)

    def _tell(self, done: _Done, result: object, error: BaseException | None) -> None:
        try:
            self._loop.call_soon_threadsafe(done, result, error)
        except RuntimeError:
            # The loop was closed before its store was: nobody waits for the answer.
            return
