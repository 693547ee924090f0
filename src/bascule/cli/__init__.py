"""The command line: thin functions that call a room below and print what it answers.

Every command takes `--json` (one document on standard output, nothing else there) and ends with 0 (done), 1 (a check or
a gate said no), 2 (usage or bad input) or 3 (the environment). Commands import the rooms inside their functions, so
that `bascule --help` stays instant.
"""
