"""The command line, verification, synthesis and the reports people read."""
