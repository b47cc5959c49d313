"""Runs `sal` from a checkout: `python cli.py search ...`. It is not installed; the command is the package sal_cli."""

from sal_cli.app import main

if __name__ == "__main__":
    main()
