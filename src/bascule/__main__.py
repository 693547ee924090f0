"""`python -m bascule` is the same as `bascule`."""

from bascule.cli.main import main

if __name__ == "__main__":
    main()
