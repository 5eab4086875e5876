"""Run a machine-learning box, unchanged, on any engine.

A *box* is a directory that describes and holds a machine-learning workload.  This package checks boxes
and runs their tasks.
"""

__version__ = "0.3.0"
