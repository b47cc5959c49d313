"""Runs `sal` as `python -m sal_cli`, and under torchrun as `torchrun -m sal_cli train`."""

from sal_cli.app import main

if __name__ == "__main__":
    main()
