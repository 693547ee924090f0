"""What each version has done in this process: counts, times, and a histogram of latencies."""

from __future__ import annotations

from dataclasses import dataclass, field

from bascule.serving.http.message import Kept

# Powers of two of microseconds: 1 µs to 8.4 s. The number of a latency's bits is its place.
BUCKETS = 24
MOST_SIZES = 256
OTHER_SIZES = -1


@dataclass(slots=True)
class BatchStats:
    """Requests of one number of rows. Times are nanoseconds."""

    count: int = 0
    input_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0


@dataclass(slots=True)
class VersionStats:
    """One version of one deployment. It is changed by the event loop's thread only. Times are nanoseconds.

    Attributes:
        rows: rows that were scored.
        executions: requests that were scored.
        joined: those of them that were scored in another's call of the model.
        queue_ns: how long requests waited for a worker.
        hits, misses: requests that were answered from what is remembered, and that were not though they could be.
        unkept: requests that were scored, and answered 503 because the log could not keep them.
        kept: what makes each of these count; see `Counted`.
        histogram: how many requests took less than 2^place microseconds and not less than half of it; the last place
            holds all that took longer.
        batches: the figures of requests of another number of rows than one; those of one row are the rest.
    """

    rows: int = 0
    executions: int = 0
    failures: int = 0
    failed_ns: int = 0
    input_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0
    last_us: int = 0
    shadow_failures: int = 0
    joined: int = 0
    queue_ns: int = 0
    hits: int = 0
    hit_ns: int = 0
    misses: int = 0
    unkept: int = 0
    kept: Kept | None = None
    histogram: list[int] = field(default_factory=lambda: [0] * (BUCKETS + 1))
    batches: dict[int, BatchStats] = field(default_factory=dict)

    def succeeded(self, rows: int, at: int, input_ns: int, infer_ns: int, output_ns: int) -> None:
        """Count a request that was answered.

        Args:
            at: when it came, in microseconds since the epoch.
        """
        self.rows += rows
        self.executions += 1
        self.input_ns += input_ns
        self.infer_ns += infer_ns
        self.output_ns += output_ns
        self.last_us = at
        place = ((input_ns + infer_ns + output_ns) // 1000).bit_length()
        self.histogram[place if place < BUCKETS else BUCKETS] += 1
        if rows != 1:
            self._batch(rows, input_ns, infer_ns, output_ns)

    def _batch(self, rows: int, input_ns: int, infer_ns: int, output_ns: int) -> None:
        batch = self.batches.get(rows)
        if batch is None:
            if len(self.batches) >= MOST_SIZES:
                rows = OTHER_SIZES
            batch = self.batches.setdefault(rows, BatchStats())
        batch.count += 1
        batch.input_ns += input_ns
        batch.infer_ns += infer_ns
        batch.output_ns += output_ns

    def by_size(self) -> list[tuple[int, BatchStats]]:
        """Return the figures by number of rows, ascending; sizes beyond the first 256 stand together as -1."""
        single = BatchStats(self.executions, self.input_ns, self.infer_ns, self.output_ns)
        for batch in self.batches.values():
            single.count -= batch.count
            single.input_ns -= batch.input_ns
            single.infer_ns -= batch.infer_ns
            single.output_ns -= batch.output_ns
        return sorted({**self.batches, 1: single}.items()) if single.count else sorted(self.batches.items())

    def failed(self, ns: int) -> None:
        """Count a request that this version could not answer."""
        self.failures += 1
        self.failed_ns += ns

    def missed(self) -> None:
        """Count a request as one that could not be answered, though it was scored."""
        self.unkept += 1

    @property
    def unkept_ns(self) -> int:
        """The time of the requests that were scored and not kept: as long as the others, for it is not told apart."""
        return self.succeeded_ns * self.unkept // self.executions if self.executions else 0

    @property
    def succeeded_ns(self) -> int:
        """The time of all scored requests."""
        return self.input_ns + self.infer_ns + self.output_ns
