"""`python -m candlewick` is `candlewick`."""

import sys

from candlewick.cli import main

if __name__ == "__main__":
    sys.exit(main())
