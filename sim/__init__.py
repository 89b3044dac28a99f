"""Fast, integer-only execution of programs, with cycle models. Never imports torch."""
