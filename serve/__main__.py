"""`python -m serve`."""

import sys

from serve.command_line import main

if __name__ == "__main__":
    sys.exit(main())
