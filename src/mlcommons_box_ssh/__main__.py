"""``python -m mlcommons_box_ssh``."""

from mlcommons_box.cli.drop_in import ssh
from mlcommons_box.cli.main import console

if __name__ == "__main__":
    console(ssh)
