"""``python -m mlcommons_box``."""

from mlcommons_box.cli.main import console

if __name__ == "__main__":
    console()
