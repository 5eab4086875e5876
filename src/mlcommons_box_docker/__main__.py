"""``python -m mlcommons_box_docker``."""

from mlcommons_box.cli.drop_in import docker
from mlcommons_box.cli.main import console

if __name__ == "__main__":
    console(docker)
