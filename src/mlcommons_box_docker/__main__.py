"""``python -m mlcommons_box_docker``."""

import sys

from mlcommons_box.cli.drop_in import docker

if __name__ == "__main__":
    sys.exit(docker())
