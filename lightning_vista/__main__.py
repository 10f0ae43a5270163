"""`python -m lightning_vista` is the `lightning-vista` command."""

from lightning_vista.cli import main

if __name__ == "__main__":
    main()
