"""Searches with optuna that a kill can't hurt: what is asked and told is in a file, and a search goes on from it exactly.

A trial's proposal depends on the seed and on the finished trials alone (the sampler is seeded anew for each), so a search that was
interrupted gives the trials that an uninterrupted one gives.
"""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Literal

import optuna
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from ..errors import CompressionError

Direction = Literal["maximize", "minimize"]
Sampler = Literal["tpe", "nsga2"]
#: By the name of what is chosen, the values to choose from, ascending.
Space = Mapping[str, Sequence[float]]
#: By name, the value.
Choice = dict[str, float]

_IDENTITY: Final = "search"
_POPULATION: Final = 20  # of NSGA-II: searches here have hundreds of trials, not thousands


@dataclass(frozen=True)
class Trial:
    """One network that a search tried.

    Members
    -------
    number
        The first one's is 0.
    choice
        By the name of what was chosen, the value.
    score
        What `evaluate` gave; more is better.
    cost
        What `cost` gave; less is better.
    """

    number: int
    choice: Choice
    score: float
    cost: float


def run(space: Space, judge: Callable[[Choice], tuple[Choice, float, float]], values: Callable[[float, float], list[float]], *,
        directions: Sequence[Direction], identity: Mapping[str, Any], first: Choice, trials: int, seed: int, sampler: Sampler,
        file: str | os.PathLike[str] | None, progress: Callable[[Trial, int], None] | None) -> list[Trial]:
    """Try choices until there are so many trials, those in the file counted.

    Parameters
    ----------
    judge
        Makes a proposal what it may be, and says which score and cost that has.
    values
        From score and cost, the objectives.
    directions
        Of each objective, `maximize` or `minimize`.
    identity
        What makes a search another one: JSON.
    first
        The first trial's proposal.

    Raises
    ------
    CompressionError
        The file can't be written, is none of a search, is damaged, in use, or another search's.
    """
    with _quiet(), _storage(file) as storage:
        study = _study(storage, directions, json.loads(json.dumps(identity)), file)
        told = [_told(one, space, file) for one in _complete(study)]
        while len(told) < trials:
            if not told:
                choice, score, cost = judge(first)
                study.add_trial(_finished(space, choice, score, cost, values(score, cost)))
            else:
                study.sampler = _sampler(sampler, (seed * 1_000_003 + len(told)) % 2**32)
                trial = study.ask()
                choice, score, cost = judge({name: some[trial.suggest_int(name, 0, len(some) - 1)] for name, some in space.items()})
                for key, value in (("choice", choice), ("score", score), ("cost", cost)):
                    trial.set_user_attr(key, value)
                study.tell(trial, values(score, cost))
            told.append(Trial(len(told), choice, score, cost))
            if progress is not None:
                progress(told[-1], trials)
    return [Trial(number, one.choice, one.score, one.cost) for number, one in enumerate(told[:trials])]


def _finished(space: Space, choice: Choice, score: float, cost: float, values: list[float]) -> FrozenTrial:
    """A trial that no sampler proposed."""
    ranges: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.IntDistribution(0, len(some) - 1) for name, some in space.items()}
    return optuna.trial.create_trial(params={name: list(some).index(choice[name]) for name, some in space.items()},
                                     distributions=ranges, values=values,
                                     user_attrs={"choice": choice, "score": score, "cost": cost})


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep optuna from telling about each trial and about its own novelties."""
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _sampler(kind: Sampler, seed: int) -> optuna.samplers.BaseSampler:
    if kind == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    return optuna.samplers.NSGAIISampler(population_size=_POPULATION, seed=seed)


class _Held(JournalFileOpenLock):
    """No lock for each entry: the file is held for the whole search, and nothing stays behind where that is killed."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


@contextmanager
def _storage(file: str | os.PathLike[str] | None) -> Iterator[BaseStorage]:
    if file is None:
        yield InMemoryStorage()
        return
    path = Path(file)
    if not path.parent.is_dir():
        raise CompressionError(f"there is no folder '{path.parent}' for the search's file '{path.name}': create it first")
    try:
        stream = path.open("a+b")
    except OSError as error:
        raise CompressionError(f"the search's file '{path}' can't be written ({error.strerror}): name another one") from None
    with stream:
        _hold(stream, path)
        begun = _mend(stream, path)
        try:
            storage = JournalStorage(JournalFileBackend(str(path), _Held(str(path))))
            if begun and not storage.get_all_studies():
                raise ValueError("its beginning is missing")
        except Exception as error:  # whatever optuna trips over
            raise _damaged(path, error) from error
        yield storage


def _hold(stream: IO[bytes], path: Path) -> None:
    """Keep other searches off the file while this one runs; the system lets go of it when the process ends, however it does."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise CompressionError(f"another search is writing '{path}': wait for its end, or name another file") from None


def _mend(stream: IO[bytes], path: Path) -> bool:
    """Drop an entry whose writing was cut off, but first see that it is a search's file at all; tell whether it has entries."""
    stream.seek(0)
    whole = 0
    for line in stream:
        if line.endswith(b"\n"):
            try:
                known = isinstance(entry := json.loads(line), dict) and "op_code" in entry
            except (ValueError, RecursionError) as error:
                raise _damaged(path, error) from None
            if not known:
                raise _damaged(path, ValueError("an entry has no op_code"))
            whole += len(line)
        elif not whole:
            raise _damaged(path, ValueError("it has no entries"))
    stream.truncate(whole)
    return whole > 0


def _damaged(path: str | os.PathLike[str] | None, error: BaseException) -> CompressionError:
    reason = (str(error).splitlines() or [""])[0][:120] or type(error).__name__
    return CompressionError(f"'{os.fspath(path or '')}' is no file of a search, or it is damaged ({reason}): name another one, or "
                            "delete it to begin anew")


def _study(storage: BaseStorage, directions: Sequence[Direction], identity: Any,
           file: str | os.PathLike[str] | None) -> optuna.Study:
    """The study in the storage, made if there is none; trials that were running when a search was killed are given up."""
    try:
        if storage.get_all_studies():
            study = optuna.load_study(storage=storage, study_name=_IDENTITY)
        else:
            study = optuna.create_study(storage=storage, study_name=_IDENTITY, directions=list(directions))
        found = study.user_attrs.get(_IDENTITY)
        if found is None and not study.trials:  # new, or killed when it was
            study.set_user_attr(_IDENTITY, identity)
            found = identity
    except Exception as error:  # whatever optuna trips over
        raise _damaged(file, error) from error
    if found != identity:
        other = [key for key in identity if not isinstance(found, dict) or found.get(key) != identity[key]]
        raise CompressionError(f"'{os.fspath(file or '')}' is the file of another search (its {', '.join(other)} differ): name "
                               "another one, or delete it to begin anew")
    for one in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(one.number, state=TrialState.FAIL)
    return study


def _complete(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _told(one: FrozenTrial, space: Space, file: str | os.PathLike[str] | None) -> Trial:
    """What a file says of a finished trial.  Raises CompressionError."""
    choice, score, cost = (one.user_attrs.get(key) for key in ("choice", "score", "cost"))
    numbers = all(isinstance(value, (int, float)) and math.isfinite(value) for value in (score, cost))
    if not numbers or not isinstance(choice, dict) or set(choice) != set(space) or not all(
            choice[name] in some for name, some in space.items()):
        raise _damaged(file, ValueError(f"trial {one.number} holds what the search can't have written"))
    assert isinstance(score, (int, float)) and isinstance(cost, (int, float))
    return Trial(one.number, {name: choice[name] for name in space}, float(score), float(cost))
