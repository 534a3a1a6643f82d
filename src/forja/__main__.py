"""`python -m forja`, as launchers of several processes start it."""

from forja.cli import main

main()
