"""The command line: `python portfolio_manager.py --help`."""

from live.cli import main

if __name__ == "__main__":
    main()
