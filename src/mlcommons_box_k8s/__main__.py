"""``python -m mlcommons_box_k8s``."""

from mlcommons_box.cli.drop_in import k8s
from mlcommons_box.cli.main import console

if __name__ == "__main__":
    console(k8s)
