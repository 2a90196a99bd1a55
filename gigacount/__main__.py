"""`python -m gigacount` and the `gigacount` command."""

from gigacount.cli import main

if __name__ == "__main__":
    main()
