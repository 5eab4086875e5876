"""``python -m mlcommons_box_singularity``."""

import sys

from mlcommons_box.cli.drop_in import singularity

if __name__ == "__main__":
    sys.exit(singularity())
