"""``python -m mlcommons_box_singularity``."""

from mlcommons_box.cli.drop_in import singularity
from mlcommons_box.cli.main import console

if __name__ == "__main__":
    console(singularity)
