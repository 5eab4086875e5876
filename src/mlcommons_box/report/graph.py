"""Runs and the data that joins them as a graph, for people who read Mermaid (as GitHub does) or Graphviz."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from mlcommons_box.pipeline import Place, PlaceIndex, path_of, place_of
from mlcommons_box.planning import BoundParameter, RunPlan
from mlcommons_box.report.problems import one_line
from mlcommons_box.value import Value


class Node(Value):
    """A run, with its task as its detail, or data: a file or a directory."""

    kind: Literal["run", "file", "directory"]
    name: str
    detail: str = ""


class Edge(Value):
    """From what makes to what is made, or from what is read to what reads it, as numbers of nodes.

    ``is_part`` says that both are data, and that one is a part of the other.
    """

    source: int
    target: int
    is_part: bool = False


class Graph(Value):
    """The nodes, runs first, and what joins them."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def graph_of(plans: Sequence[RunPlan]) -> Graph:
    """The graph of runs, in their order; it need not be possible to run them."""
    nodes = [
        Node(kind="run", name=plan.run, detail="" if plan.task.name == plan.run else plan.task.name)
        for plan in plans
    ]
    edges: dict[Edge, None] = {}
    numbers: dict[Place, int] = {}
    sides: dict[str, dict[Place, None]] = {"input": {}, "output": {}}
    for run, plan in enumerate(plans):
        for parameter in plan.parameters:
            place = place_of(parameter)
            sides[parameter.direction][place] = None
            if place not in numbers:
                numbers[place] = len(nodes)
                nodes.append(Node(kind=parameter.type, name=_name(parameter, plan)))
            ends = (numbers[place], run) if parameter.direction == "input" else (run, numbers[place])
            edges[Edge(source=ends[0], target=ends[1])] = None
    for written, wanted in _parts(sides["output"], sides["input"]):
        edges[Edge(source=numbers[written], target=numbers[wanted], is_part=True)] = None
    return Graph(nodes=tuple(nodes), edges=tuple(edges))


def _parts(written: Iterable[Place], wanted: Iterable[Place]) -> Iterable[tuple[Place, Place]]:
    """What is written inside of what is read, and what is read inside of what is written."""
    outer_of_read, outer_of_written = PlaceIndex(written), PlaceIndex(wanted)
    for place in wanted:
        for outer in [each for each in outer_of_read.holding(place) if each != place][-1:]:
            yield outer, place
    for place in written:
        for outer in [each for each in outer_of_written.holding(place) if each != place][-1:]:
            yield place, outer


def _name(parameter: BoundParameter, plan: RunPlan) -> str:
    """The path of data as short as it can be said: below the workspace, or whole."""
    path = Path(path_of(place_of(parameter)))
    for base in (plan.workspace, plan.box.root):
        if path != base and path.is_relative_to(base):
            path = path.relative_to(base)
            break
    claim = f"{parameter.claim}: " if parameter.claim else ""
    return f"{claim}{path}{'/' if parameter.type == 'directory' and str(path) != '/' else ''}"


def as_mermaid(graph: Graph) -> str:
    """The graph for Mermaid."""
    lines = ["flowchart LR"]
    for number, node in enumerate(graph.nodes):
        detail = f"<br/><small>{_mermaid(node.detail)}</small>" if node.detail else ""
        text = f'"{_mermaid(node.name)}{detail}"'
        lines.append(f"    n{number}[{text}]" if node.kind == "run" else f"    n{number}([{text}])")
    for edge in graph.edges:
        lines.append(f"    n{edge.source} {'-.->' if edge.is_part else '-->'} n{edge.target}")
    runs = ",".join(f"n{number}" for number, node in enumerate(graph.nodes) if node.kind == "run")
    if runs:
        lines += ["    classDef run stroke-width:3px", f"    class {runs} run"]
    return "\n".join(lines) + "\n"


def as_dot(graph: Graph) -> str:
    """The graph for Graphviz."""
    lines = ["digraph box {", "    rankdir=LR;", '    node [fontname="sans-serif"];']
    for number, node in enumerate(graph.nodes):
        text = _dot(node.name) + (f"\\n({_dot(node.detail)})" if node.detail else "")
        style = "shape=box, style=bold" if node.kind == "run" else "shape=box, style=rounded"
        lines.append(f'    n{number} [label="{text}", {style}];')
    for edge in graph.edges:
        style = " [style=dashed]" if edge.is_part else ""
        lines.append(f"    n{edge.source} -> n{edge.target}{style};")
    return "\n".join([*lines, "}"]) + "\n"


def _mermaid(text: str) -> str:
    """Text within quotes; Mermaid knows characters by their numbers."""
    return "".join(
        character if character.isalnum() or character in " _./:-+,=@" else f"#{ord(character)};"
        for character in one_line(text)
    )


def _dot(text: str) -> str:
    """Text within quotes."""
    return one_line(text).replace("\\", "\\\\").replace('"', '\\"')
