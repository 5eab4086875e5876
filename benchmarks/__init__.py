"""Measurements of what people wait for, against the bare command in the same run."""
