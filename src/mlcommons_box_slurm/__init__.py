"""The command ``mlcommons_box_slurm``, as ``python -m``."""
