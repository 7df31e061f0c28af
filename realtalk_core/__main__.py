"""`python -m realtalk_core` is `realtalk`."""

from realtalk_core.cli import main

main()
