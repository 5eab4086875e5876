"""The command ``mlcommons_box_k8s`` of the 2020 release, as ``python -m``."""
