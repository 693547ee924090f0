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
from collections.abc import Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from bascule.errors import EnvironmentProblem, InputError
from bascule.serving.http.message import HttpProblem
from bascule.serving.service import Service
from bascule.serving.workers.child import Child, StepFailed, WorkerHung, WorkerLost, WorkerSlow
from bascule.serving.workers.job import Job, message, parts_of, resolve
from bascule.serving.workers.program import Program
from bascule.serving.workers.spare import SPARE

AGAIN_S = 1.0  # after a worker could not be started
LONGEST_S = 60.0
GRACE_S = 1.0  # after the time that a job has: who waits is told of the worker's own end rather than by the clock
LEAST_S = 0.25  # that each of those is given that hung together


class Lane:
    """The queue and the workers of one version. It is used from any thread.

    Attributes:
        explains: the model tells what each input adds to a score.
        restarts: workers that were lost and replaced.
        refused: jobs that found the queue full.

    Args:
        program: what each worker runs.
        service: how many there are, and how long and how large they may get.

    Raises:
        InputError: the program cannot be loaded.
        EnvironmentProblem: no worker comes up.
    """

    def __init__(self, program: Program, service: Service) -> None:
        self.program = program
        self.service = service
        self.restarts = 0
        self.refused = 0
        self._spent = 0.0  # seconds that a call took lately, for those that are sent away
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._busy = 0
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
    def timeout(self) -> float:
        """How long one call may take, in seconds."""
        return self.service.timeout or LONGEST_S

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
        SPARE.want(self._libraries)
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
                    child = self._started()
                if child is not None:
                    self._children[me] = child
                jobs = self._take()
                if not jobs:
                    return
                try:
                    child = self._run(child, jobs)
                    jobs = []  # or what they hold would live until the next ones come
                finally:
                    with self._changed:
                        self._busy -= 1
        finally:
            self._children.pop(me, None)
            if child is not None:
                child.close()

    def _started(self) -> Child | None:
        """Return a worker, or None when none comes up; those who wait are told so."""
        try:
            return self._start()
        except (EnvironmentProblem, InputError, OSError) as error:
            print(f"bascule serve: {error}", file=sys.stderr, flush=True)
            time.sleep(AGAIN_S)
            return None

    def _take(self) -> list[Job]:
        """Wait for jobs and return those that go together; none when the lane is closed."""
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return []
                self._changed.wait()
            self._busy += 1
            first = self._waiting.popleft()
            found, rows = [first], first.rows
            while self._waiting and rows < self.service.batch:
                job = self._waiting[0]
                if not job.goes_with(first) or rows + job.rows > self.service.batch:
                    break
                found.append(self._waiting.popleft())
                rows += job.rows
            return found

    def _run(self, child: Child | None, jobs: Sequence[Job]) -> Child | None:
        """Do jobs together and return the worker, or None when it is lost."""
        began = time.perf_counter_ns()
        now = time.monotonic()
        live = [job for job in jobs if job.until > now]
        for job in jobs:
            job.queue_ns = began - job.put_ns
        answers: list[tuple[Job, Any]] = [(job, self._too_late()) for job in jobs if job.until <= now]
        if child is None:
            nobody = EnvironmentProblem(f"{self.program.label()} has no worker that works.", hint="Repeat in a moment.")
            resolve([*answers, *((job, nobody) for job in live)])
            return None
        kept: Child | None = child
        if live:
            kept, found = self._together(child, live, self.timeout)
            answers += found
        seconds = (time.perf_counter_ns() - began) / 1e9
        self._spent = seconds if not self._spent else 0.8 * self._spent + 0.2 * seconds
        resolve(answers)
        if kept is not None and kept.is_heavy():
            return self._replaced(kept)
        return kept

    def _replaced(self, heavy: Child) -> Child | None:
        """Return another worker in place of one that has grown too large, which answers no more."""
        print(
            f"bascule serve: {self.program.label()}: a worker grew to {heavy.weight():,} bytes and is replaced.",
            file=sys.stderr,
            flush=True,
        )
        self.restarts += 1
        heavy.close()
        return self._started()

    def _together(
        self, child: Child, jobs: Sequence[Job], seconds: float, before: str = ""
    ) -> tuple[Child | None, list[tuple[Job, Any]]]:
        """Ask once for all jobs, for so many seconds. What spoils it is found by asking for each alone.

        Args:
            before: what was tried before, for the message.
        """
        rows = sum(job.rows for job in jobs)
        began = time.perf_counter_ns()
        try:
            found = child.ask(message(jobs), seconds)
            parts = parts_of(jobs, found)
        except WorkerLost as lost:
            self._mourn(lost)
            if len(jobs) == 1 and not (lost.from_outside and not jobs[0].again):
                kind = WorkerSlow if isinstance(lost, WorkerHung) else StepFailed
                resolve([(jobs[0], kind(f"{lost}{before}; another one takes its place"))])
                return self._started(), []
            jobs[0].again = len(jobs) == 1
            return self._apart(self._started(), jobs, isinstance(lost, WorkerHung))
        except Exception as error:  # also what could not be sent or read: the thread, and with it the lane, lives on
            if len(jobs) == 1:
                return child, [(jobs[0], error.with_traceback(None))]  # it leads to here, where the job is
            return self._apart(child, jobs, False)
        spent = time.perf_counter_ns() - began
        for place, job in enumerate(jobs):
            job.infer_ns = spent * job.rows // max(rows, 1)
            job.joined = place > 0
        return child, list(zip(jobs, parts, strict=True))

    def _apart(
        self, child: Child | None, jobs: Sequence[Job], hung: bool
    ) -> tuple[Child | None, list[tuple[Job, Any]]]:
        """Ask for each job alone while somebody waits for it, and let it know at once.

        Args:
            hung: one of them hangs. As others may too, all of them together have the time of one call from then on.
        """
        budget = self.timeout if hung else math.inf
        before = f", after {self.timeout:.3g} s with others" if hung else ""
        for place, job in enumerate(jobs):
            began = time.monotonic()
            left = min(budget, job.until + GRACE_S - began)
            if child is None:
                resolve([(job, EnvironmentProblem(f"{self.program.label()} has no worker that works."))])
            elif left <= 0:
                resolve([(job, self._too_late())])
            else:
                share = max(left / (len(jobs) - place), LEAST_S) if budget < math.inf else self.timeout
                seconds = min(left, share, self.timeout)
                child, found = self._together(child, [job], seconds, before)
                resolve(found)
                spent = time.monotonic() - began
                if budget == math.inf and spent >= seconds:  # this one hangs
                    budget = self.timeout
                budget -= min(spent, seconds)  # and not what it takes to start another worker
        return child, []

    def _mourn(self, lost: WorkerLost) -> None:
        self.restarts += 1
        print(f"bascule serve: {self.program.label()}: {lost}.", file=sys.stderr, flush=True)
