"""The command ``mlcommons_box_singularity`` of the 2020 release, as ``python -m``."""
