"""The search's study: it resumes, is shared by processes, keeps within a budget; its database's refusals are told."""

import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy
from optuna.storages import RDBStorage

from golden.errors import UserError
from reports.search.found import Found
from reports.search.space import Space, Values
from reports.search.storage import storage_at
from reports.search.study import Search, open_study
from tests.search_sample import digits_space, found, mixed

SERVER = "VITRTL_POSTGRESQL"
"""Environment variable with the URL of a server on which the tests may make a database of their own."""


@pytest.fixture(scope="module")
def space() -> Space:
    """The digits'."""
    return digits_space()


@pytest.fixture
def server() -> Iterator[str]:
    """URL of a fresh, empty database on the server that the environment names."""
    given = os.environ.get(SERVER)
    if given is None:
        pytest.skip(f"needs a PostgreSQL server: {SERVER}=postgresql+psycopg://user@host/db, and its driver")
    name = f"vitrtl_{os.getpid()}"
    engine = sqlalchemy.create_engine(given, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"create database {name}"))
    try:
        yield sqlalchemy.make_url(given).set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(f"drop database {name} with (force)"))


@pytest.fixture(params=["file", "server"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database."""
    return f"sqlite:///{tmp_path}/search.db" if request.param == "file" else request.getfixturevalue("server")


def fake(space: Space) -> Callable[[int, Values], Found]:
    """A measurement that takes no time: wider is better and dearer; some configurations cannot be had."""

    def measure(number: int, values: Values) -> Found:
        bits = [int(value) for value in values.values() if isinstance(value, int)]
        if bits[0] > 5:
            raise ValueError("so many bits\nare refused")
        return found(number, float(sum(bits)), float(max(bits)), float(sum(bits) / 10)).model_copy(
            update={"values": dict(values)}
        )

    return measure


@pytest.fixture
def opened() -> Iterator[Callable[..., Search]]:
    """`search_in`, closed after the test."""
    with ExitStack() as stack:
        yield partial(search_in, stack)


def search_in(
    stack: ExitStack,
    place: Path | str,
    space: Space,
    seed: int = 0,
    budget: tuple[tuple[str, float], ...] = (),
) -> Search:
    """A search in a file, or in the database of a URL."""
    storage = stack.enter_context(storage_at(place if isinstance(place, str) else f"sqlite:///{place}"))
    study = open_study(storage, "test", ("area", "weight_kib"))
    return Search(
        study=study, space=space, seed=seed, objectives=("area", "weight_kib"), budget=budget, startup=5
    )


def trials(search: Search) -> list[object]:
    return [(trial.params, trial.values) for trial in search.study.get_trials()]


def test_a_search_goes_on_as_if_it_had_never_stopped(
    opened: Callable[..., Search], space: Space, tmp_path: Path
) -> None:
    first = [mixed(space)]
    whole = opened(tmp_path / "whole.db", space)
    whole.run(10, first, fake(space))
    for count in (3, 8, 10):
        opened(tmp_path / "parts.db", space).run(count, first, fake(space))
    assert trials(opened(tmp_path / "parts.db", space)) == trials(whole)
    assert whole.study.trials[0].params == first[0], "the uniform point comes first"
    drawn = {str(trial.params) for trial in whole.study.trials}
    assert len(drawn) >= 6, "one configuration is drawn again and again"
    assert whole.failures() > 0, "no configuration was refused: the test shows less than it should"
    other = opened(tmp_path / "other.db", space, seed=1)
    other.run(3, first, fake(space))
    assert trials(other) != trials(whole)[:3]


def test_what_is_beyond_the_budget_is_not_found(
    opened: Callable[..., Search], space: Space, tmp_path: Path
) -> None:
    limited = opened(tmp_path / "search.db", space, budget=(("weight_kib", 6.0),))
    limited.run(10, [mixed(space)], fake(space))
    assert limited.found()
    assert all(each.estimate.weight_kib <= 6.0 for each in limited.found())
    assert len(limited.found()) < 10 - limited.failures(), "nothing was beyond it"


def _share(url: str, space: Space) -> None:
    """Trials without an end, one every 50 ms."""
    measure = fake(space)

    def slow(number: int, values: Values) -> Found:
        time.sleep(0.05)
        return measure(number, values)

    with ExitStack() as stack:
        search_in(stack, url, space).run(100_000, [], slow)


def test_processes_share_a_study_and_one_may_be_killed(
    opened: Callable[..., Search], space: Space, url: str
) -> None:
    here = opened(url, space)
    other = multiprocessing.get_context("spawn").Process(target=_share, args=(url, space))
    other.start()
    deadline = time.monotonic() + 120
    while not (first := len(here.study.get_trials())) and time.monotonic() < deadline:
        time.sleep(0.1)
    here.run(first + 6, [], fake(space))
    assert other.pid is not None
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    numbers = {trial.number for trial in here.study.get_trials()}
    assert numbers == set(range(len(numbers)))
    here.run(len(numbers) + 1, [], fake(space))
    assert here.found()


def test_a_trial_of_another_version_is_refused(
    opened: Callable[..., Search], space: Space, tmp_path: Path
) -> None:
    search = opened(tmp_path / "search.db", space)
    trial = search.study.ask()
    trial.set_user_attr("found", {"number": 0})
    search.study.tell(trial, [1.0, 1.0, 1.0])
    with pytest.raises(UserError, match="trial 0 of the study is not this version's"):
        search.found()


def test_a_connection_may_be_lost_between_trials(
    opened: Callable[..., Search], server: str, space: Space
) -> None:
    search = opened(server, space)
    search.run(2, [], fake(space))
    with sqlalchemy.create_engine(server, poolclass=sqlalchemy.NullPool).connect() as connection:
        others = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
        connection.execute(sqlalchemy.text(f"{others} and datname = current_database()"))
    search.run(4, [], fake(space))
    assert len(search.study.get_trials()) == 4


# The database


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:////nowhere/at/all/search.db", "unable to open database file"),
        ("nonsense", "Could not parse"),
        ("postgresql+nonsense://host/db", "Can't load plugin"),
        ("postgresql://user@host:port/db", "'port'"),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_line(url: str, says: str) -> None:
    with pytest.raises(UserError) as told, storage_at(url):
        pass
    assert str(told.value).startswith(f"--storage {url} cannot be used: ")
    assert str(told.value).endswith("; give sqlite:///FILE or postgresql://...")
    assert says in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("driver", "package"), [("psycopg", "psycopg[binary]"), ("psycopg2", "psycopg2-binary")]
)
def test_a_missing_driver_is_named_and_no_password(
    driver: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(UserError) as told, storage_at(f"postgresql+{driver}://user:se:c@ret@host/db"):
        pass
    assert str(told.value) == (
        f"--storage postgresql+{driver}://user:***@host/db needs {driver}, which is not installed: "
        f"pip install '{package}'"
    )


# Optuna leaves the connection of a storage that could not be made to the garbage collector, which psycopg warns of.
@pytest.mark.filterwarnings("ignore:.*psycopg:ResourceWarning")
def test_an_empty_database_may_be_opened_by_many_at_once(url: str) -> None:
    together, refused = threading.Barrier(4), []

    def one() -> None:
        together.wait()
        try:
            with storage_at(url):
                pass
        except UserError as error:
            refused.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    assert not refused


def test_a_database_that_goes_away_is_one_line(tmp_path: Path) -> None:
    told = r"--storage .*search\.db failed: [^\n]*no such table[^\n]*$"
    with pytest.raises(UserError, match=told), storage_at(f"sqlite:///{tmp_path}/search.db") as storage:
        _lose_trials(storage)


def _lose_trials(storage: RDBStorage) -> None:
    study = open_study(storage, "test", ("area",))
    with storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text("drop table trials"))
    study.get_trials()
