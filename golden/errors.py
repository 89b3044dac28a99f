"""The two kinds of failure: a user's mistake, and a broken invariant of ours."""


class UserError(Exception):
    """A mistake in what the user gave; its text is one line: what, where, what would be right.

    The command prints it without a traceback and exits with code 2.
    """


class InvariantError(RuntimeError):
    """Something vitrtl itself guarantees does not hold; always a bug of ours, always loud."""
