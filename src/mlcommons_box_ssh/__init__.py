"""The command ``mlcommons_box_ssh`` of the 2020 release, as ``python -m``."""
