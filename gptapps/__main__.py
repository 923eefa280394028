"""``python -m gptapps`` is the command line."""

from gptapps.cli import main

main()
