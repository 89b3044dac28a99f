"""The study: trials by Optuna, kept in a database that several processes share and a killed one goes on from."""

import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState
from pydantic import ValidationError

from golden.errors import InvariantError, UserError
from reports.progress import bar
from reports.search.found import Found
from reports.search.space import Space, Values
from reports.search.survivors import front

STARTUP = 16
"""Trials drawn at random, the uniform ones among them, before the sampler learns from what it has seen."""
FOUND, LIMITS, FAILURE = "found", "limits", "failure"
"""Names of a trial's attributes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Search:
    """One study: what is suggested, measured, minimised and limited."""

    study: optuna.Study
    space: Space
    seed: int
    objectives: tuple[str, ...]
    budget: tuple[tuple[str, float], ...]
    startup: int = STARTUP

    def run(self, trials: int, first: Sequence[Values], measure: Callable[[int, Values], Found]) -> None:
        """Trials until the study has finished `trials`, those of `first` before all others.

        Then the sampler's alternate with narrowings: one of `first`'s leading entry or, as often, of the front so far,
        a few of its widths a bit narrower. Area goes by the widest layer, so that a sampler that draws every width
        by itself seldom meets the neighbours of a uniform configuration, where all are narrow.

        A configuration that cannot be calibrated or lowered is a failed trial and costs no other one.
        """
        for values in first:
            self.study.enqueue_trial(dict(values), skip_if_exists=True)
        with bar("proxy", trials, min(self._finished(), trials)) as advance:
            while self._finished() < trials:
                self._one(measure, first)
                advance(1)

    def found(self) -> tuple[Found, ...]:
        """Every configuration measured and within the budget, once, in the order of the trials."""
        kept: dict[tuple[tuple[str, int | str], ...], Found] = {}
        for trial in self.study.get_trials(states=(TrialState.COMPLETE,)):
            each = _read(trial)
            if all(each.cost(name) <= limit for name, limit in self.budget):
                kept.setdefault(tuple(sorted(each.values.items())), each)
        return tuple(kept.values())

    def failures(self) -> int:
        """Configurations that could not be measured."""
        return len(self.study.get_trials(deepcopy=False, states=(TrialState.FAIL,)))

    def _finished(self) -> int:
        return len(self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL)))

    def _one(self, measure: Callable[[int, Values], Found], first: Sequence[Values]) -> None:
        # A sampler of its own for every trial: what it draws follows from the seed and the trials before it, not
        # from how often the search was started.
        before = len(self.study.get_trials(deepcopy=False))
        seed = self.seed * 1_000_003 + before
        self.study.sampler = self._sampler(seed)
        if first and before > len(first) and before % 2:
            self.study.enqueue_trial(self._narrowed(first[0], random.Random(seed)))
        trial = self.study.ask(_distributions(self.space))
        values = dict(trial.params)
        known = next((each for each in self._measured() if each.values == values), None)
        try:
            found = measure(trial.number, values) if known is None else known
        except (UserError, InvariantError, ValueError) as error:
            trial.set_user_attr(FAILURE, " ".join(str(error).split()))
            self.study.tell(trial, state=TrialState.FAIL)
            return
        self._tell(trial, found)

    def _narrowed(self, leading: Values, draw: random.Random) -> dict[str, int | str]:
        best = [each.values for each in front(self.found(), self.objectives)]
        return self.space.narrower(draw.choice(best) if best and draw.random() < 0.5 else leading, draw)

    def _tell(self, trial: Trial, found: Found) -> None:
        own = found.model_copy(update={"number": trial.number})
        trial.set_user_attr(FOUND, own.model_dump(mode="json"))
        trial.set_user_attr(LIMITS, [own.cost(name) - limit for name, limit in self.budget])
        self.study.tell(trial, [own.estimate.logits_db, *(own.cost(name) for name in self.objectives)])

    def _measured(self) -> list[Found]:
        return [
            _read(trial) for trial in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        ]

    def _sampler(self, seed: int) -> BaseSampler:
        options: dict[str, Any] = {"constraints_func": _limits} if self.budget else {}
        with warnings.catch_warnings():
            # constraints_func: experimental in Optuna 4, deprecated in 5, and the one form that both have.
            warnings.simplefilter("ignore", ExperimentalWarning)
            warnings.simplefilter("ignore", FutureWarning)
            return TPESampler(seed=seed, n_startup_trials=self.startup, **options)


def open_study(storage: RDBStorage, name: str, objectives: Sequence[str]) -> optuna.Study:
    """The study `name`, made where it is not there."""
    return optuna.create_study(
        study_name=name,
        storage=storage,
        directions=[StudyDirection.MAXIMIZE, *[StudyDirection.MINIMIZE] * len(objectives)],
        load_if_exists=True,
    )


def _limits(trial: FrozenTrial) -> Sequence[float]:
    """How far a trial is beyond each limit; at most 0 within."""
    return [float(beyond) for beyond in trial.user_attrs.get(LIMITS, ())]


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    return {
        name: IntDistribution(*choice) if isinstance(choice[0], int) else CategoricalDistribution(choice)
        for name, choice in space.choices.items()
    }


def _read(trial: FrozenTrial) -> Found:
    try:
        return Found.model_validate(trial.user_attrs.get(FOUND))
    except ValidationError as error:
        raise UserError(
            f"trial {trial.number} of the study is not this version's; give another --out or --storage"
        ) from error
