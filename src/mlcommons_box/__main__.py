"""``python -m mlcommons_box``."""

import sys

from mlcommons_box.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
