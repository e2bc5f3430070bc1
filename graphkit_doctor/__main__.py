"""`python -m graphkit_doctor`."""

import sys

from graphkit_doctor.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], "python -m graphkit_doctor"))
