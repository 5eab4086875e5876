"""``python -m mlcommons_box_slurm``."""

from mlcommons_box.cli.drop_in import slurm
from mlcommons_box.cli.main import console

if __name__ == "__main__":
    console(slurm)
