"""What waits for the workers of one version, and the threads that hold them.

Micro-batching is what a queue does by itself: a worker that is free takes what waits, all of it that fits together.
With a free worker nothing waits, so an idle system answers as fast as without.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from bascule.errors import EnvironmentProblem, InputError
from bascule.serving.case import UNLOADABLE, Case
from bascule.serving.http.message import HttpProblem
from bascule.serving.service import Service
from bascule.serving.workers.child import Child, WorkerGone, WorkerGrew, WorkerHung, WorkerLost, WorkerSlow
from bascule.serving.workers.job import Job, message, parts_of, resolve
from bascule.serving.workers.patience import Patience
from bascule.serving.workers.program import Program
from bascule.serving.workers.spare import SPARE

AGAIN_S = 1.0  # after a worker could not be started
GRACE_S = 1.0  # after the time that a job has: who waits is told of the worker's own end rather than by the clock


class Lane:
    """The queue and the workers of one version. It is used from any thread.

    Attributes:
        explains: the model tells what each input adds to a score.
        restarts: workers that were lost and replaced.
        refused: jobs that found the queue full.

    Args:
        program: what each worker runs.
        service: how many there are, and how long and how large they may get.
        case: where what becomes of its workers is noted.

    Raises:
        InputError: the program cannot be loaded.
        EnvironmentProblem: no worker comes up.
    """

    def __init__(self, program: Program, service: Service, case: Case | None = None) -> None:
        self.program = program
        self.service = service
        self._case = case or Case()
        self._patience = Patience(service.timeout)
        self.restarts = 0
        self.refused = 0
        self._spent = 0.0  # seconds that a call took lately, for those that are sent away
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._children: dict[int, Child] = {}
        self._libraries: frozenset[str] = frozenset()
        began: SimpleQueue[Child | Exception] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._begin, args=(began,), daemon=True, name=f"worker-{program.name}-{place}")
            for place in range(max(1, service.workers))
        ]
        SPARE.hold()
        for thread in self._threads:
            thread.start()
        found = [began.get() for _ in self._threads]
        for one in found:
            if isinstance(one, Exception):
                self.close()
                raise one
        self.explains = any(one.explains for one in found if isinstance(one, Child))

    @property
    def pids(self) -> list[int]:
        """The worker processes that live."""
        return [child.pid for child in self._children.values()]

    def put(self, job: Job) -> None:
        """Let a job wait for a worker; its future gets the answer.

        Raises:
            HttpProblem: 429, as many wait as may.
            EnvironmentProblem: the lane was closed.
        """
        with self._changed:
            if self._closed:
                raise EnvironmentProblem(f"{self.program.label()} is being unloaded.", hint="Repeat the request.")
            if len(self._waiting) >= self.service.queue:
                self._forget_late()
            if len(self._waiting) >= self.service.queue:
                self.refused += 1
                seconds = max(1, math.ceil(self._spent * len(self._waiting) / len(self._threads)))
                raise HttpProblem(
                    429,
                    f"{self.program.label()} has as much work as it takes: {len(self._waiting)} requests wait.",
                    hint=f"Repeat in {seconds} s; [deployment] service.queue and service.workers say how many.",
                    extra=b"retry-after: %d\r\n" % seconds,
                )
            job.put_ns = time.perf_counter_ns()
            if self.service.timeout:
                job.until = min(job.until, time.monotonic() + self.service.timeout)
            self._waiting.append(job)
            self._changed.notify()

    def _forget_late(self) -> None:
        """Let go of jobs that nobody waits for any more."""
        now = time.monotonic()
        late = [job for job in self._waiting if job.until <= now]
        if late:
            self._waiting = deque(job for job in self._waiting if job.until > now)
            resolve([(job, self._too_late()) for job in late])

    def _too_late(self) -> HttpProblem:
        return HttpProblem(504, f"{self.program.label()} had no worker free in time.")

    def ask(self, job: Job) -> Any:
        """Put a job and wait for its answer, in a thread that may wait."""
        self.put(job)
        assert isinstance(job.future, Future)
        try:
            return job.future.result()
        except Exception:
            job.future = Future()  # or the error would hold itself: its traceback leads to the job
            raise

    def close(self) -> None:
        """Let the workers finish what waits, and end them."""
        with self._changed:
            first, self._closed = not self._closed, True
            self._changed.notify_all()
        if first:
            SPARE.release()

    # The threads' side ----------------------------------------------------------------------------------------------

    def _start(self) -> Child:
        """Return a worker: the process that waits, given the program, or a new one; another one is to wait then."""
        child = self._spared()
        if child is None:
            try:
                child = Child(self.program, self.service.memory)
            except WorkerLost as lost:
                raise EnvironmentProblem(f"{self.program.label()} cannot be loaded: {lost}.") from None
        self._libraries = frozenset(child.libraries)
        SPARE.want(self._libraries, len(self._threads) if self._patience.careful else 1)
        return child

    def _spared(self) -> Child | None:
        # What others' programs import would count as this one's memory.
        spare = SPARE.take(self._libraries) if self.service.memory else SPARE.take()
        try:
            return Child(self.program, self.service.memory, spare) if spare is not None else None
        except WorkerLost:  # it was lost while it waited, or with the program: a new one tells
            return None

    def _begin(self, told: SimpleQueue[Child | Exception]) -> None:
        """Start a worker and work. Linux ends a child with the thread that made it, so this thread stays its own."""
        try:
            child = self._start()
        except Exception as error:
            told.put(error)
            return
        self._children[threading.get_ident()] = child
        told.put(child)
        self._work(child)

    def _work(self, child: Child | None) -> None:
        me = threading.get_ident()
        try:
            while True:
                if child is None:
                    self._children.pop(me, None)
                    child = self._started()
                if child is not None:
                    self._children[me] = child
                elif self._children:
                    if self._closed:
                        return
                    continue  # another one works, and answers
                jobs = self._take()
                if not jobs:
                    return
                child = self._run(child, jobs)
                jobs = []  # or what they hold would live until the next ones come
        finally:
            self._children.pop(me, None)
            if child is not None:
                child.close()

    def _started(self) -> Child | None:
        """Return a worker, or None when none comes up; those who wait are told so."""
        try:
            found = self._start()
        except (EnvironmentProblem, InputError, OSError) as error:
            print(f"bascule serve: {error}", file=sys.stderr, flush=True)
            self._case.note(UNLOADABLE, str(error))
            time.sleep(AGAIN_S)
            return None
        self._case.over(UNLOADABLE)
        return found

    def _take(self) -> list[Job]:
        """Wait for jobs and return those that go together; none when the lane is closed."""
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return []
                self._changed.wait()
            first = self._waiting.popleft()
            found, rows = [first], first.rows
            if first.alone or self._patience.careful:
                return found
            while self._waiting and rows < self.service.batch:
                job = self._waiting[0]
                if job.alone or not job.goes_with(first) or rows + job.rows > self.service.batch:
                    break
                found.append(self._waiting.popleft())
                rows += job.rows
            return found

    def _put_back(self, jobs: Sequence[Job]) -> None:
        """Let each of some jobs be asked for alone, by whichever worker is free.

        One of them likely costs a worker again. So who waits already goes first, where these have time for that.
        """
        with self._changed:
            others = self._spent * len(self._waiting) / len(self._threads)
            behind = time.monotonic() + 2 * others < min(job.until for job in jobs)
            for job in jobs if behind else reversed(jobs):
                job.alone = True
                (self._waiting.append if behind else self._waiting.appendleft)(job)
            self._changed.notify(len(jobs))

    def _run(self, child: Child | None, jobs: Sequence[Job]) -> Child | None:
        """Do jobs together and return the worker, or None when it is lost."""
        began = time.perf_counter_ns()
        now = time.monotonic()
        late = [job for job in jobs if job.until + (GRACE_S if job.alone else 0.0) <= now]  # who was begun is told soon
        live = [job for job in jobs if job not in late]
        for job in jobs:
            job.queue_ns = began - job.put_ns
        answers: list[tuple[Job, Any]] = [(job, self._too_late()) for job in late]
        if child is None:
            nobody = EnvironmentProblem(f"{self.program.label()} has no worker that works.", hint="Repeat in a moment.")
            resolve([*answers, *((job, nobody) for job in live)])
            return None
        kept = True
        if live:
            kept, found = self._asked(child, live)
            answers += found
        seconds = (time.perf_counter_ns() - began) / 1e9
        self._spent = seconds if not self._spent else 0.8 * self._spent + 0.2 * seconds
        resolve(answers)
        if not kept:
            return self._started()
        return self._replaced(child) if child.is_heavy() else child

    def _replaced(self, heavy: Child) -> Child | None:
        """Return another worker in place of one that has grown too large, which answers no more."""
        self._mourn(WorkerGrew(f"its worker grew to {heavy.weight():,} bytes and was ended"))
        heavy.close()
        return self._started()

    def _asked(self, child: Child, jobs: Sequence[Job]) -> tuple[bool, list[tuple[Job, Any]]]:
        """Ask once for all jobs. When that fails, those that are several are put back, to be asked for one by one.

        Returns:
            Whether the worker lives, and the answers that there are.
        """
        one = jobs[0] if len(jobs) == 1 else None
        began = time.perf_counter_ns()
        try:
            parts = _parts(jobs, child.ask(message(jobs), *self._time(jobs)))
        except WorkerLost as lost:
            child.close()
            self._mourn(lost)
            if one is not None and (one.again or not lost.from_outside):
                kind = WorkerSlow if isinstance(lost, WorkerHung) else WorkerGone
                return False, [(one, kind(f"{lost}; another one takes its place"))]
            if one is not None:
                one.again = True
            self._put_back(jobs)
            return False, []
        except Exception as error:  # also what could not be sent or read: the thread, and with it the lane, lives on
            if one is not None:
                return True, [(one, error.with_traceback(None))]  # it leads to here, where the job is
            self._put_back(jobs)
            return True, []
        spent, rows = time.perf_counter_ns() - began, sum(job.rows for job in jobs)
        self._patience.took(spent / 1e9)
        for place, job in enumerate(jobs):
            job.infer_ns = spent * job.rows // max(rows, 1)
            job.joined = place > 0
        return True, list(zip(jobs, parts, strict=True))

    def _time(self, jobs: Sequence[Job]) -> tuple[float, Callable[[], float] | None]:
        """Return how many seconds a call may take, and what says it anew while the call lasts."""
        patience, first = self._patience, jobs[0]
        if len(jobs) > 1:
            return patience.shared(), None
        if first.rows > self.service.batch:
            return patience.timeout, None  # it takes longer than others do
        return patience.timeout, lambda: patience.urged(first.alone) if self._waiting else patience.timeout

    def _mourn(self, lost: WorkerLost) -> None:
        self.restarts += 1
        if not lost.from_outside:
            self._patience.lost()
        self._case.note(lost.kind, str(lost))
        print(f"bascule serve: {self.program.label()}: {lost}.", file=sys.stderr, flush=True)


def _parts(jobs: Sequence[Job], found: Any) -> list[Any]:
    """Return each job's part of an answer, or raise `WorkerLost`: it is none."""
    try:
        return parts_of(jobs, found)
    except (TypeError, ValueError, AttributeError):
        raise WorkerLost("its worker answered what is no answer and was ended") from None
