"""The command `vitrtl`: one module here is one command; one line and exit code 2 for a user's mistake."""

import pkgutil
import sys
from importlib import import_module

import typer

from golden.errors import UserError

SHARED = "options"
"""The one module here that is no command."""
app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="From a Vision Transformer checkpoint to verified integer hardware.",
)
for _name in sorted({module.name for module in pkgutil.iter_modules(__path__)} - {SHARED}):
    app.command()(getattr(import_module(f"{__name__}.{_name}"), _name))

UsageError = typer.BadParameter.__base__
"""What typer raises for wrong options; it does not export the class."""


def main() -> None:
    """Entry point of the command."""
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except UserError as error:
        _fail(str(error))
    except UsageError as error:  # type: ignore[misc]
        _fail(error.format_message())
    except (KeyboardInterrupt, typer.Abort):
        print("vitrtl: interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> None:
    print("vitrtl: error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)
