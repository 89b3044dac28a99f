"""The database that keeps a study: a file, or a server that several machines share."""

import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from golden.errors import UserError

LOCK_SECONDS = 120
"""How long a process waits for another that writes into the same SQLite file."""
_PACKAGES = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary"}
"""Driver -> what installs it."""


@contextmanager
def storage_at(url: str) -> Iterator[RDBStorage]:
    """The database at `url`, with its tables, until its connections are closed; UserError where it fails."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = _opened(url)
    try:
        yield storage
    except (SQLAlchemyError, StorageInternalError) as error:
        raise UserError(
            f"--storage {shown(url)} failed: {_first_line(error)}; start again, it keeps finished trials"
        ) from error
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _opened(url: str, attempts: int = 5) -> RDBStorage:
    """Several processes may make the tables of an empty database at once; those refused then try again."""
    file = url.startswith("sqlite:")
    # A second process waits for a file instead of failing; a server may have dropped a connection since its last use.
    options = {"connect_args": {"timeout": LOCK_SECONDS}} if file else {"pool_pre_ping": True}
    try:
        return RDBStorage(url, engine_kwargs=options)
    except ImportError as error:
        raise UserError(f"--storage {shown(url)} needs {_driver(error)}") from error
    except (SQLAlchemyError, StorageInternalError, ValueError, RuntimeError) as error:
        if attempts == 1 or not _made_meanwhile(error):
            raise UserError(
                f"--storage {shown(url)} cannot be used: {_first_line(error)}; "
                "give sqlite:///FILE or postgresql://..."
            ) from error
    time.sleep(random.uniform(0.1, 0.5))
    return _opened(url, attempts - 1)


def shown(url: str) -> str:
    """`url` without its password.

    >>> shown("postgresql://user:secret@host/db"), shown("sqlite:///out/search.db")
    ('postgresql://user:***@host/db', 'sqlite:///out/search.db')
    """
    return re.sub(r"(?<=//)([^:/@]*):.*@", r"\1:***@", url)


def _driver(error: ImportError) -> str:
    """What is not installed; Optuna's error hides SQLAlchemy's, which names the module."""
    cause = error.__cause__ if isinstance(error.__cause__, ImportError) else error
    package = _PACKAGES.get(cause.name or "")
    return f"{cause.name or cause}, which is not installed" + (
        f": pip install '{package}'" if package else ""
    )


def _made_meanwhile(error: Exception) -> bool:
    """Another process has just made the tables that this one was making."""
    return isinstance(error, IntegrityError) or "already exists" in str(error)


def _first_line(error: Exception) -> str:
    """What the database said; Optuna's error hides it."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else None
    return str(cause or error).partition("\n")[0]
