"""Which shards a process builds: those it can claim, until every shard is there, by whomever."""

import logging
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import chain

from pipelines.cache_shards import ShardJob, build_shards
from pipelines.engines.world import World
from pipelines.interrupt import StopRequest
from pipelines.progress import Meter
from stores import ShardReport, pending_shards
from stores.layout import report_file
from stores.publish import remove_partials

log = logging.getLogger(__name__)

WAIT_SECONDS = 0.5
"""Between looks at shards that others are building."""


def build_claimed(
    job: ShardJob, pending: list[int], world: World, meter: Meter, stop: StopRequest
) -> Generator[ShardReport]:
    """Build shards of `pending`, yielding the report of each once it is durable.

    Returns when all of `pending` are there, or a stop is requested. While others build the last ones this waits, to
    take over from who dies.

    Raises:
        ViralError, StoreError: as `build_shards`.
    """
    # Each process starts at its own place, so that they seldom try for the same shard.
    start = len(pending) * world.rank // world.size
    pending = pending[start:] + pending[:start]
    told = False
    while pending and not stop.requested:
        claimed = _claim(job, pending, meter)
        if (first := next(claimed, None)) is not None:
            with closing(build_shards(job, chain([first], claimed), meter, stop)) as reports:
                yield from reports
        else:
            if not told:
                log.info("Others are building the last %d shards of %s; waiting.", len(pending), job.root)
            told = True
            time.sleep(WAIT_SECONDS)
        pending = pending_shards(job.root, job.plan, pending)


def _claim(job: ShardJob, pending: Iterable[int], meter: Meter) -> Iterator[int]:
    """Those of `pending` that nobody else has, each claimed when it is asked for."""
    for shard_id in pending:
        if not job.builder.claim(str(shard_id)):
            continue
        if pending_shards(job.root, job.plan, [shard_id]):
            remove_partials(job.root, [job.plan.spec.shard_file(shard_id), report_file(shard_id)])
            yield shard_id
        else:  # finished by another since we looked
            job.builder.release(str(shard_id))
            meter.skip(len(job.plan.rows(shard_id)))
