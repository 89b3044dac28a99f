"""The connection to a Dask scheduler, checked before anything heavy is loaded. Dask is imported only when asked for."""

import asyncio
import logging
from typing import TYPE_CHECKING

from golden.errors import UserError

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 5


def check_scheduler(address: str) -> None:
    """UserError where Dask is not installed, or no scheduler answers at `address` within 5 s."""
    try:
        from distributed import Security
        from distributed.comm import connect
    except ImportError as error:
        raise UserError(
            "--scheduler needs Dask distributed; install it with: pip install 'vitrtl[cluster]'"
        ) from error

    async def greet() -> None:
        comm = await connect(address, timeout=CONNECT_SECONDS, **Security().get_connection_args("client"))
        await comm.close()

    # Dask's own lines about broken connections would stand above ours, or inside a progress bar. Its import gave
    # both loggers a level.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        asyncio.run(greet())
    except Exception as error:  # whatever an address, a network or another kind of server comes up with
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(
            f"--scheduler {address} does not answer as a Dask scheduler ({reason}); give the address that "
            "dask scheduler prints, such as tcp://192.0.2.7:8786"
        ) from error


def connected(address: str) -> "Client":
    """A client of the scheduler that was found at `address`, to be used in a `with` statement."""
    from distributed import Client

    return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
