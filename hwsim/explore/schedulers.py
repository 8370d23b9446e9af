"""Where the points of a sweep are computed: processes of this machine, or a Dask or a Ray cluster.

Each scheduler takes parcels of work in any order and gives their results as they come.  A process that is killed costs nothing but
the time of what it was computing: that is computed again elsewhere.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from intir import BitwrightError

Parcel = TypeVar("Parcel")
Result = TypeVar("Result")
SCHEDULERS = ("local", "dask", "ray")
#: How often a parcel may lose its process before it is held to be the cause.
TRIES = 4


class SchedulerError(BitwrightError):
    """There is no such scheduler here, or its cluster cannot be reached."""


def scheduled(work: Callable[[Parcel], Result], parcels: Sequence[Parcel], *, scheduler: str = "local", jobs: int | None = None,
              address: str | None = None) -> Iterator[Result]:
    """Results of the parcels, in the order in which they are done.

    Parameters
    ----------
    work : callable
        At the top of a module, or a partial of such a one.
    parcels : sequence
    scheduler : str
        One of `SCHEDULERS`.
    jobs : int, optional
        Processes on this machine; by default as many as it has cores.
    address : str, optional
        Of a Dask scheduler or a Ray head; by default a cluster of `jobs` processes is started on this machine, and ended.

    Raises
    ------
    SchedulerError
        If there is no such scheduler, its package is missing, nothing answers at the address, or processes die again and again.
    """
    if scheduler not in SCHEDULERS:
        raise SchedulerError(f"there is no scheduler '{scheduler}'; choose one of {', '.join(SCHEDULERS)}")
    if address is not None and scheduler == "local":
        raise SchedulerError(f"the address {address} means nothing for the scheduler local; choose dask or ray")
    run = {"local": _local, "dask": _dask, "ray": _ray}[scheduler]
    yield from run(work, list(parcels), jobs or len(os.sched_getaffinity(0)), address)


def _local(work: Callable[[Any], Any], parcels: list[Any], jobs: int, address: str | None) -> Iterator[Any]:
    if jobs == 1:
        yield from map(work, parcels)
        return
    try:
        from joblib import Parallel, delayed
        from joblib.externals.loky.process_executor import TerminatedWorkerError
    except ImportError:
        raise _missing("joblib", "explore") from None
    left = dict(enumerate(parcels))
    for _ in range(TRIES):
        try:
            parallel = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
            for number, result in parallel(delayed(_numbered)(work, number, parcel) for number, parcel in left.copy().items()):
                del left[number]
                yield result
            return
        except TerminatedWorkerError:  # the pool is lost with the process; what it gave before is not
            continue
    raise SchedulerError(f"processes died {TRIES} times (is there memory enough?); {len(left)} of {len(parcels)} parcels are left: "
                         "run the same again to go on")


def _dask(work: Callable[[Any], Any], parcels: list[Any], jobs: int, address: str | None) -> Iterator[Any]:
    try:
        import distributed
        from distributed.scheduler import KilledWorker
    except ImportError:
        raise _missing("dask[distributed]", "cluster") from None
    dask: Any = distributed  # it has types for some of its functions only
    cluster = None if address else dask.LocalCluster(n_workers=jobs, threads_per_worker=1, dashboard_address=None)
    try:
        client = dask.Client(address or cluster, timeout="20s")
    except (OSError, ValueError) as error:
        raise SchedulerError(f"no Dask scheduler answers at {address} ({_first_line(error)}); start one with `dask scheduler`, or "
                             "leave the address out") from None
    try:
        futures = client.map(work, parcels, pure=False, retries=TRIES)
        for future in dask.as_completed(futures):
            try:
                yield future.result()
            except KilledWorker:
                raise SchedulerError(f"a parcel lost its worker {TRIES} times (is there memory enough?); run the same again to go "
                                     "on") from None
            future.release()
    finally:
        client.close()
        if cluster is not None:
            cluster.close()


def _ray(work: Callable[[Any], Any], parcels: list[Any], jobs: int, address: str | None) -> Iterator[Any]:
    try:
        import ray
        from ray.exceptions import WorkerCrashedError
    except ImportError:
        raise _missing("ray", "cluster") from None
    try:
        own: dict[str, Any] = {} if address else {"num_cpus": jobs, "include_dashboard": False}
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise SchedulerError(f"no Ray cluster answers at {address} ({_first_line(error)}); start one with `ray start --head`, or "
                             "leave the address out") from None
    try:
        remote = ray.remote(max_retries=TRIES)(_numbered)
        waiting = [remote.remote(work, number, parcel) for number, parcel in enumerate(parcels)]
        while waiting:
            done, waiting = ray.wait(waiting)
            try:
                yield from (result for _, result in ray.get(done))
            except WorkerCrashedError:
                raise SchedulerError(f"a parcel lost its worker {TRIES} times (is there memory enough?); run the same again to go "
                                     "on") from None
    finally:
        ray.shutdown()


def _numbered(work: Callable[[Any], Any], number: int, parcel: Any) -> tuple[int, Any]:
    return number, work(parcel)


def _missing(package: str, extra: str) -> SchedulerError:
    return SchedulerError(f"this needs {package}; install it, or bitwright[{extra}]")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
