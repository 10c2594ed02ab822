"""`python -m keraslr`."""

import sys

from keraslr.cli import main

if __name__ == "__main__":
    sys.exit(main())
