"""The command line: ``gptapps TASK FILE``, ``gptapps tasks``, ``gptapps models``."""

from gptapps.cli.app import main

__all__ = ["main"]
