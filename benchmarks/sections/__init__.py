"""One module for each section: its title, what its figures mean, and ``measure``."""

from __future__ import annotations

from benchmarks.sections import hashing, mnist, pipelines, start, sync, task, validate

SECTIONS = {
    "start": start,
    "validate": validate,
    "task": task,
    "pipelines": pipelines,
    "hashing": hashing,
    "sync": sync,
    "mnist": mnist,
}
