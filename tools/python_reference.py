"""Makes ``docs/reference/python-api.md`` of the public names and their docstrings, for :mod:`update_reference`."""

from __future__ import annotations

import inspect
import re

import mlcommons_box

INTRODUCTION = """\
# Python interface

What the command line can do, a notebook can do in a few lines:

```python
import mlcommons_box as mlbox

box = mlbox.load_box("examples/hello_world")
plan = mlbox.plan(box, "alice/hello", platform="local")
record = mlbox.run(plan)
print(record.status, record.outputs["chat"]["digest"][:8])
print(mlbox.why(plan).is_up_to_date)
```

```text
Hello, Alice! Nice to meet you.
succeeded 418d179c
True
```

The names on this page are stable: they are those of `mlcommons_box.__all__`. To import the package loads nothing
else; each name is loaded when it is first used. Whatever is wrong before a task starts raises a `BoxError`. A task
that fails is no exception: its record has the `status` `failed` and the task's own `exit_status`.

Boxes, plans, records and all other objects are immutable, have the attributes that are listed here, and compare by
value. Everything else in the package may change with any release.
"""


def python_page() -> str:
    """The page of the Python interface."""
    names = [name for name in mlcommons_box.__all__ if not name.startswith("_")]
    functions = [name for name in names if name.islower()]
    classes = [name for name in names if not name.islower()]
    parts = [INTRODUCTION, "## Functions\n", *map(_function, functions), "## Classes\n", *map(_class, classes)]
    return "\n".join(parts)


def _function(name: str) -> str:
    function = getattr(mlcommons_box, name)
    return f"### {name}\n\n```text\n{_signature(name, function)}\n```\n\n{_text(function)}\n"


def _signature(name: str, function: object) -> str:
    """A parameter a line, when there are many."""
    signature = inspect.signature(function)  # type: ignore[arg-type]
    words = [_parameter(each) for each in signature.parameters.values()]
    named = [each.kind is each.KEYWORD_ONLY for each in signature.parameters.values()]
    if True in named:
        words.insert(named.index(True), "*")
    end = f") -> {signature.return_annotation}"
    whole = f"{name}({', '.join(words)}{end}"
    return whole if len(whole) <= 100 else "\n".join([f"{name}(", *(f"    {each}," for each in words), end])


def _parameter(each: inspect.Parameter) -> str:
    default = "" if each.default is each.empty else f" = {getattr(each.default, '__name__', repr(each.default))}"
    return f"{each.name}: {each.annotation}{default}"


def _class(name: str) -> str:
    kind = getattr(mlcommons_box, name)
    fields = {
        field: annotation
        for each in reversed(kind.__mro__)
        for field, annotation in inspect.get_annotations(each).items()
        if not field.startswith("_")
    }
    properties = {
        field: (inspect.signature(value.fget).return_annotation, inspect.getdoc(value))
        for field, value in vars(kind).items()
        if isinstance(value, property) and value.fget is not None
    }
    lines = [f"- `{field}`: `{_type(annotation)}`" for field, annotation in fields.items()]
    lines += [f"- `{field}`: `{_type(kind)}`. {_prose(said or '')}" for field, (kind, said) in properties.items()]
    listed = "\n".join(lines)
    return f"### {name}\n\n{_text(kind)}\n" + (f"\n{listed}\n" if lines else "")


def _type(annotation: object) -> str:
    return str(getattr(annotation, "__name__", annotation))


def _text(documented: object) -> str:
    return _prose(inspect.getdoc(documented) or "")


def _prose(text: str) -> str:
    """The markup of docstrings as Markdown."""
    text = re.sub(r":\w+:`[~.]*(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    return re.sub(r"(?<=[.;:])  (?=\S)", " ", text.replace("``", "`"))
