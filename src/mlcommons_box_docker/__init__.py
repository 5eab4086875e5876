"""The command ``mlcommons_box_docker`` of the 2020 release, as ``python -m``."""
