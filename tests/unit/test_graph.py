"""The graph of a box: what it joins, how it is laid out, and that no name in it means anything to who draws it."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

from mlcommons_box.report.graph import Edge, as_dot, as_mermaid, graph_of
from mlcommons_box.report.graph_layout import layout
from mlcommons_box.report.graph_svg import as_svg
from tests.unit.test_pipeline import plan

STRANGE = '"]; end <script>alert(1)</script> `&#\\\x1b[31m\n|{}é'
SVG = "{http://www.w3.org/2000/svg}"


def test_runs_and_data_are_joined_and_parts_of_data_too() -> None:
    graph = graph_of([plan("get", "", "/d"), plan("a", "/d/x", "/m/a"), plan("all", "/m")])
    names = [node.name for node in graph.nodes]
    assert names == ["get", "a", "all", "/d/", "/d/x/", "/m/a/", "/m/"]
    joined = {(names[each.source], names[each.target], each.is_part) for each in graph.edges}
    assert joined == {
        ("get", "/d/", False),
        ("/d/", "/d/x/", True),
        ("/d/x/", "a", False),
        ("a", "/m/a/", False),
        ("/m/a/", "/m/", True),
        ("/m/", "all", False),
    }


def test_paths_below_the_workspace_are_short() -> None:
    graph = graph_of([plan("a", "/box/workspace/data /box/build /elsewhere /", "")])
    assert [node.name for node in graph.nodes[1:]] == ["data/", "build/", "/elsewhere/", "/"]


def test_runs_that_wait_for_each_other_are_drawn_all_the_same() -> None:
    graph = graph_of([plan("a", "/x", "/y"), plan("b", "/y", "/x")])
    assert ElementTree.fromstring(as_svg(graph, "circle")).findall(f".//{SVG}path[@class='line']")


def test_a_box_without_runs_is_a_graph_without_nodes() -> None:
    graph = graph_of([])
    assert as_mermaid(graph) == "flowchart LR\n"
    assert as_dot(graph).startswith("digraph box {")
    ElementTree.fromstring(as_svg(graph, "nothing"))


def test_nothing_in_a_name_means_anything_to_mermaid() -> None:
    text = as_mermaid(graph_of([plan(STRANGE, f"/{STRANGE}")]))
    for line in text.splitlines()[1:3]:
        label = re.fullmatch(r'    n\d(?:\["|\(\[")(.*?)(?:"\]|"\]\))', line)
        assert label, line
        assert not set(label.group(1)) & set('"[]<>`|{}&\\\x1b'), line
    assert "é" in text


def test_nothing_in_a_name_means_anything_to_graphviz() -> None:
    text = as_dot(graph_of([plan(STRANGE)]))
    (label,) = re.findall(r'\[label="((?:[^"\\]|\\.)*)", shape=box, style=bold\];$', text, re.MULTILINE)
    assert '\\"]; end <script>' in label
    assert "\x1b" not in text


def test_nothing_in_a_name_means_anything_to_a_browser() -> None:
    text = as_svg(graph_of([plan(STRANGE)]), STRANGE)
    root = ElementTree.fromstring(text)
    assert "<script" not in text
    assert any("<script>" in (each.text or "") for each in root.iter(f"{SVG}title"))


def test_a_picture_needs_nothing_from_elsewhere_and_knows_the_dark() -> None:
    text = as_svg(graph_of([plan("a", "/x", "/y")]), "x")
    assert not re.search(r"@import|@font-face|href|<script|<image|url\((?!#)", text)
    assert "prefers-color-scheme: dark" in text


def test_every_node_is_right_of_what_it_depends_on_and_none_covers_another() -> None:
    edges = [(0, 1), (0, 2), (1, 3), (2, 3), (0, 3), (4, 3), (3, 5)]
    placed = layout([30.0] * 6, edges, gap=10.0, bend=4.0)
    column = {node: number for number, nodes in enumerate(placed.columns) for node in nodes}
    assert all(column[source] < column[target] for source, target in edges)
    assert column[4] == column[3] - 1
    assert placed.lines[4][0] == 0
    assert len(placed.lines[4]) == 3  # a bend where it passes a column
    for nodes in placed.columns:
        middles = [placed.middles[node] for node in nodes if node < 6]
        assert all(upper + 40.0 <= lower + 1e-6 for upper, lower in pairwise(middles))
    assert min(placed.middles) >= 0


def test_lines_do_not_cross_where_they_need_not() -> None:
    placed = layout([20.0] * 8, [(0, 7), (1, 6), (2, 5), (3, 4)], gap=5.0, bend=4.0)
    places = [{node: number for number, node in enumerate(column)} for column in placed.columns]
    assert [places[0][node] for node in (0, 1, 2, 3)] == [places[1][node] for node in (7, 6, 5, 4)]


def test_an_edge_is_there_once() -> None:
    assert len(set(graph_of([plan("a", "/x /x", "")]).edges)) == 1
    assert Edge(source=0, target=1) != Edge(source=0, target=1, is_part=True)
