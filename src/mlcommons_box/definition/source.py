"""YAML text as nodes that remember where they stand.

The parser's events are read one by one, not through ``yaml.compose()``: that recurses in C, and takes 42 s for
100 000 opening brackets, while a stream of events can be cut off as soon as it nests too deep.  What is
accepted is YAML 1.2's core: no tags, no merge keys, no complex or duplicate keys, one document, UTF-8.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
from pathlib import Path
from typing import Any, NoReturn

import yaml

from mlcommons_box.definition.nodes import MappingNode, Node, ScalarNode, SequenceNode, kind_of
from mlcommons_box.definition.problems import Problems
from mlcommons_box.errors import Location
from mlcommons_box.suggestions import quoted, shortened

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 50_000

_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_NOT_PRINTABLE = "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
_PLAIN_ASCII = bytes((9, 10, 13, *range(32, 127)))
"""What almost every file consists of; compiling the pattern takes longer than reading a box."""


def _is_plain(text: str) -> bool:
    return text.isascii() and not text.encode("ascii").translate(None, _PLAIN_ASCII)


class _Rejected(Exception):
    """Raised after a problem was reported that makes the rest of the file meaningless."""


def read_source(path: Path, problems: Problems) -> Node | None:
    """The root node of the YAML file at ``path``; None, and at least one problem, when it has none."""
    text = _read_text(path, problems)
    if text is None:
        return None
    return parse_source(text, str(path), problems)


def parse_source(text: str, file: str, problems: Problems) -> Node | None:
    """The root node of the YAML document ``text``, whose problems are shown as of ``file``."""
    try:
        return _Parser(text, file, problems).document()
    except _Rejected:
        return None


def _read_text(path: Path, problems: Problems) -> str | None:
    where = Location(file=str(path))
    try:
        # Non-blocking, so that a FIFO in the place of a file is seen for what it is and not waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                what = "a directory" if stat.S_ISDIR(mode) else "something that is not a regular file"
                problems.report("not-a-file", f"expected a YAML file, found {what}", where)
                return None
            with os.fdopen(descriptor, "rb", closefd=False) as stream:
                data = stream.read(MAX_BYTES + 1)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        code = "missing-file" if isinstance(error, FileNotFoundError) else "unreadable"
        message = "the file does not exist" if code == "missing-file" else f"cannot read the file: {reason}"
        problems.report(code, message, where)
        return None
    if len(data) > MAX_BYTES:
        limit = MAX_BYTES >> 20
        problems.report(
            "too-large", f"the file is larger than {limit} MiB", where, hint="is this a definition file?"
        )
        return None
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        lines = _LINE_BREAK.split(before)
        rest = _LINE_BREAK.split(data[error.start : error.start + 80].decode("utf-8", "replace"))[0]
        place = Location(file=str(path), line=len(lines), column=len(lines[-1]) + 1, text=lines[-1] + rest)
        problems.report(
            "not-utf-8",
            f"byte 0x{data[error.start]:02x} is not UTF-8 text",
            place,
            hint="save the file with UTF-8 encoding",
        )
        return None


class _Parser:
    """Builds the nodes of one document from the parser's events."""

    def __init__(self, text: str, file: str, problems: Problems) -> None:
        self.text = text
        self.file = file
        self.problems = problems
        self.lines = _LINE_BREAK.split(text)
        self.anchors: dict[str, Node | None] = {}
        self.brackets: list[Location] = []
        self.count = 0

    def document(self) -> Node:
        bad = None if _is_plain(self.text) else re.search(_NOT_PRINTABLE, self.text)
        if bad:
            before = _LINE_BREAK.split(self.text[: bad.start()])
            self.reject(
                "control-character",
                f"the character U+{ord(bad.group()):04X} is not allowed in YAML",
                self.location(len(before) - 1, len(before[-1])),
            )
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(self.text)
        try:
            return self.only_document(loader)
        except yaml.MarkedYAMLError as error:
            self.reject_syntax(error)
        except yaml.YAMLError as error:
            self.reject("yaml-syntax", f"not valid YAML: {error}", Location(file=self.file))
        finally:
            loader.dispose()

    def only_document(self, loader: Any) -> Node:
        # Events are typed as Any: the stubs of PyYAML lack their attributes.
        self.next_event = loader.get_event
        self.next_event()  # the stream's start
        if isinstance(self.next_event(), yaml.StreamEndEvent):
            self.reject("empty-file", "the file is empty", Location(file=self.file))
        node = self.node(self.next_event(), depth=1)
        if isinstance(node, ScalarNode) and node.plain and not node.value:
            self.reject("empty-file", "the file is empty", Location(file=self.file))
        self.next_event()  # the document's end
        event = self.next_event()
        if not isinstance(event, yaml.StreamEndEvent):
            place = self.location(event.start_mark.line, event.start_mark.column, 3)
            self.reject("several-documents", "expected one YAML document, found a second one", place)
        return node

    def node(self, event: Any, depth: int) -> Node:
        start, end = event.start_mark, event.end_mark
        length = end.column - start.column if end.line == start.line else 1
        location = self.location(start.line, start.column, length)
        self.grow(location, 1, depth)
        if isinstance(event, yaml.AliasEvent):
            return self.aliased(str(event.anchor), location, depth)
        if event.tag not in (None, "!", "tag:yaml.org,2002:str"):
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.problems.report("tag", f"the tag {quoted(tag)} is not allowed", location, hint="remove the tag")
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        in_brackets = getattr(event, "flow_style", False)
        if in_brackets:
            self.brackets.append(location)
        node = self.content(event, location, depth)
        if in_brackets:
            self.brackets.pop()
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def content(self, event: Any, location: Location, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return ScalarNode(value=event.value, plain=event.implicit[0], location=location)
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(event := self.next_event(), yaml.SequenceEndEvent):
                items.append(self.node(event, depth + 1))
            return SequenceNode(items=tuple(items), location=location)
        entries: dict[str, tuple[ScalarNode, Node]] = {}
        while not isinstance(event := self.next_event(), yaml.MappingEndEvent):
            key = self.node(event, depth + 1)
            value = self.node(self.next_event(), depth + 1)
            if not isinstance(key, ScalarNode):
                self.problems.report("wrong-type", f"expected a text key, found {kind_of(key)}", key.location)
            elif key.plain and key.value == "<<":
                hint = "write the keys out"
                self.problems.report("merge-key", "merge keys are not allowed", key.location, hint=hint)
            elif key.value in entries:
                first = entries[key.value][0].location.line
                self.problems.report(
                    "duplicate-key",
                    f"the key {quoted(key.value)} is there twice; the first is in line {first}",
                    key.location,
                    hint="keep one of them",
                )
            else:
                entries[key.value] = (key, value)
        return MappingNode(entries=tuple(entries.values()), location=location)

    def grow(self, location: Location, count: int, depth: int) -> None:
        """Count values, and refuse them when there are too many or when they are nested too deep."""
        self.count += count
        if self.count > MAX_NODES:
            self.reject("too-large", f"the file has more than {MAX_NODES} values", location)
        if depth > MAX_DEPTH:
            self.reject("too-deep", f"values are nested more than {MAX_DEPTH} levels deep", location)

    def aliased(self, anchor: str, location: Location, depth: int) -> Node:
        node = self.anchors.get(anchor)
        if node is None:
            name = shortened(anchor)
            inside = anchor in self.anchors
            message = f"the alias *{name} " + ("contains itself" if inside else f"has no anchor &{name} before it")
            self.reject("alias", message, location)
        # Whoever walks the nodes meets what an alias stands for again, and so it counts again.
        count, levels = _extent(node)
        self.grow(location, count - 1, depth + levels - 1)
        return node

    def location(self, line: int, column: int, length: int = 1) -> Location:
        """The place at a line and column that count from 0."""
        text = self.lines[line] if line < len(self.lines) else ""
        return Location(file=self.file, line=line + 1, column=column + 1, length=max(length, 1), text=text)

    def reject(self, code: str, message: str, location: Location, hint: str | None = None) -> NoReturn:
        self.problems.report(code, message, location, hint=hint)
        raise _Rejected

    def reject_syntax(self, error: yaml.MarkedYAMLError) -> NoReturn:
        mark = error.problem_mark or error.context_mark
        if mark is None:
            self.reject("yaml-syntax", f"not valid YAML: {error.problem}", Location(file=self.file))
        place = self.location(mark.line, mark.column)
        problem = error.problem or ""
        if problem == "found unexpected end of stream" and error.context_mark:
            opened = self.location(error.context_mark.line, error.context_mark.column)
            self.reject("yaml-syntax", "the quote that opens here is never closed", opened)
        if problem == "exceeded maximum nesting depth":  # libyaml has a limit of its own from 0.2.6 on
            self.reject("too-deep", f"values are nested more than {MAX_DEPTH} levels deep", place)
        indentation = place.text[: len(place.text) - len(place.text.lstrip())]
        if "\t" in indentation or place.text[mark.column : mark.column + 1] == "\t":
            tab = self.location(mark.line, place.text.index("\t"))
            self.reject("tab", "a tab is used for indentation", tab, "YAML allows spaces only")
        rest = [place.text[mark.column :], *self.lines[mark.line + 1 :]]
        if self.brackets and not any(line.strip() for line in rest):
            self.reject("yaml-syntax", "the bracket that opens here is never closed", self.brackets[-1])
        message, hint = _SYNTAX_HELP.get(problem, (f"not valid YAML: {problem}", None))
        if problem == "could not find expected ':'" and error.context_mark:
            place = self.location(error.context_mark.line, error.context_mark.column)
        self.reject("yaml-syntax", message, place, hint)


def _extent(node: Node) -> tuple[int, int]:
    """How many values a node holds, itself included, and how many levels deep."""
    if isinstance(node, ScalarNode):
        return 1, 1
    inside = node.items if isinstance(node, SequenceNode) else [each for entry in node.entries for each in entry]
    extents = [_extent(each) for each in inside]
    return 1 + sum(count for count, _ in extents), 1 + max((levels for _, levels in extents), default=0)


_SYNTAX_HELP: dict[str, tuple[str, str | None]] = {
    "mapping values are not allowed in this context": (
        "a ':' is not expected here",
        "quote the value if it contains ': '; else check the indentation of this line and the one above",
    ),
    "did not find expected key": (
        "expected a key here",
        "check the indentation: keys of one mapping begin in the same column",
    ),
    "could not find expected ':'": (
        "expected ':' after the key",
        "write 'key: value', with a space after the colon",
    ),
    "found character that cannot start any token": (
        "a value cannot begin with this character",
        "put the value in quotes",
    ),
    "did not find expected '-' indicator": (
        "expected '-' here",
        "check the indentation: items of one list begin in the same column",
    ),
    "block sequence entries are not allowed in this context": (
        "a list item is not expected here",
        "begin the list on a line of its own, below its key",
    ),
}
