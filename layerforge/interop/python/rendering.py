"""Functions and classes as text: their own source, with what eval does without left out."""

from __future__ import annotations

import ast
import re
from typing import Any

from .editing import Editor
from .items import Written
from .sources import is_meant

WIDTH = 120
STEP = " " * 4
# A docstring of the catalogue ends, for readers of the file, where it speaks of backward, memory and errors.
FURTHER = re.compile(r"^\s*(Backward|Keeps|Cost|Errors|Source|Returns)\b", re.MULTILINE)
SHAPES = re.compile(r"\s*Shapes\b")
FOR_TOOLS = re.compile(r"\s*#\s*(type:|noqa|fmt:|pragma).*$")


def shortened(docstring: str, indent: str) -> list[str]:
    """The lines of a docstring: what it computes, and the shapes."""
    found = FURTHER.search(docstring)
    body = (docstring[: found.start()] if found else docstring).rstrip().replace('"""', "'''")
    lines = body.split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()), default=0)
    lines = [lines[0].strip(), *(line[margin:].rstrip() for line in lines[1:])]
    quote = 'r"""' if "\\" in body else '"""'
    if len(lines) == 1 and len(indent) + len(lines[0]) + len(quote) + 3 <= WIDTH and not lines[0].endswith('"'):
        return [f'{indent}{quote}{lines[0]}"""']
    return [f"{indent}{quote}{lines[0]}", *(f"{indent}{line}" if line else "" for line in lines[1:]), f'{indent}"""']


def formula_of(docstring: str) -> str:
    """Of the docstring of a layer: its name, its formula, and the shapes."""
    lines = docstring.rstrip().split("\n")
    margin = next((line[: len(line) - len(line.lstrip())] for line in lines[1:] if SHAPES.match(line)), "    ")
    formula: list[str] = []
    for line in lines[1:]:
        if line.strip() and not line.startswith(f"{margin} "):
            break
        formula.append(line)
    at = next((i for i, line in enumerate(lines) if SHAPES.match(line)), len(lines))
    shapes = [lines[at]] if at < len(lines) else []
    for line in lines[at + 1 :]:
        if not line.startswith(f"{margin}  "):
            break
        shapes.append(line)
    kept = "\n".join([lines[0], *formula]).rstrip()
    return "\n".join([kept, "", *shapes]) if shapes else kept


class Renderer:
    """Writes one function."""

    def __init__(self, written: Written, editor: Editor) -> None:
        self.editor = editor
        self.text = written.text
        self.node = written.node
        self.folded = written.folded

    def function(self, name: str, indent: str = "", *, comments: bool = False) -> list[str]:
        """The lines of the function, by that name; with the comments above it if wanted."""
        if isinstance(self.node, ast.Lambda):
            return self._of_lambda(name, indent)
        above = self._above(self.node, 0, indent) if comments else []
        return [*above, *self._definition(self.node, indent, name)]

    def _of_lambda(self, name: str, indent: str) -> list[str]:
        """A lambda as a function with a name."""
        source, edits = self.text.source, self.editor.edits(self.node.args)
        given = self.node.args
        everything = [*given.posonlyargs, *given.args, *given.kwonlyargs]
        start = self.text.span(everything[0])[0] if everything else 0
        end = self.text.span(self.node.body)[0]
        end = source.rindex(":", 0, end) if everything else 0
        arguments = self.editor.between(start, end, edits).strip()
        body = self.editor.written(self.node.body)
        flat = _flat(body)
        if len(indent) + len(flat) + 11 <= WIDTH:
            return [f"{indent}def {name}({arguments}):", f"{indent}{STEP}return {flat}"]
        lines = [f"{indent}{STEP}{STEP}{line.strip()}" for line in body.splitlines()]
        return [f"{indent}def {name}({arguments}):", f"{indent}{STEP}return (", *lines, f"{indent}{STEP})"]

    def _definition(self, node: ast.FunctionDef, indent: str, name: str = "") -> list[str]:
        """A function with its decorators, without types."""
        lines = [f"{indent}@{self.editor.written(d)}" for d in node.decorator_list if is_meant(d)]
        start = self.text.at(node.lineno, node.col_offset)
        end = self._colon(node, start)
        edits = self.editor.edits(node.args)
        if node.returns is not None:
            arrow = self.text.source.rindex("->", start, self.text.span(node.returns)[0])
            edits.append((len(self.text.source[:arrow].rstrip()), self.text.span(node.returns)[1], ""))
        head = self.editor.between(start, end, edits)
        if name and name != node.name:
            head = head.replace(f"def {node.name}", f"def {name}", 1)
        lines += [indent + line for line in _joined(head, len(indent)).split("\n")]
        said = ast.get_docstring(node, clean=False)
        inner = indent + STEP
        lines += [] if said is None else shortened(said, inner)
        body = self._block(node.body, inner, node.lineno)
        if not body and said is None:
            body = [f"{inner}pass"]
        return [*lines, *body]

    def _colon(self, node: ast.FunctionDef, start: int) -> int:
        """The place behind the colon of a function's header."""
        source, given = self.text.source, node.args
        parts: list[Any] = [*given.posonlyargs, *given.args, *given.kwonlyargs, *given.defaults]
        parts += [p for p in (*given.kw_defaults, given.vararg, given.kwarg) if p is not None]
        last = max([start, *(self.text.span(part)[1] for part in parts)])
        closed = source.index(")", last) if node.returns is None else self.text.span(node.returns)[1]
        return source.index(":", closed) + 1

    # Blocks -----------------------------------------------------------------------------------------------------------

    def _block(self, statements: list[ast.stmt], indent: str, after: int) -> list[str]:
        """The statements of a block; `after` is the line before the first."""
        lines: list[str] = []
        for statement in statements:
            if id(statement) not in self.folded.gone:
                written = self._statement(statement, indent, after)
                lines += [""] if lines and written and self._is_apart(statement, after) else []
                lines += written
            after = statement.end_lineno or after
        return lines

    def _statement(self, node: Any, indent: str, after: int) -> list[str]:
        comments = self._above(node, after, indent)
        if isinstance(node, ast.If) and id(node) in self.folded.decided:
            taken = self.folded.decided[id(node)]
            chosen = node.body if taken else node.orelse
            return [*comments, *self._block(chosen, indent, self._line_before(node, taken))] if chosen else []
        if isinstance(node, ast.FunctionDef):
            return [*comments, *self._definition(node, indent)]
        if isinstance(node, ast.AnnAssign) and node.value is None:
            return []
        if not hasattr(node, "body"):
            return [*comments, *self._simple(node, indent)]
        return [*comments, *self._compound(node, indent)]

    def _line_before(self, node: ast.If, taken: bool) -> int:
        """The line that a branch follows."""
        if taken:
            return node.test.end_lineno or node.lineno
        return max(node.body[-1].end_lineno or 0, node.orelse[0].lineno - 1 if node.orelse else 0)

    def _simple(self, node: Any, indent: str) -> list[str]:
        """A statement without a block, with the comment behind it."""
        if id(node) in self.folded.untold:
            text = self.editor.written(node.value)
        else:
            text = self.editor.written(node)
        return self._shifted(text + self._behind(node), node, indent)

    def _behind(self, node: Any) -> str:
        """The comment behind a statement."""
        end = self.text.at(node.end_lineno, 0) + self._length(node.end_lineno)
        rest = self.text.source[self.text.span(node)[1] : end]
        rest = FOR_TOOLS.sub("", rest.rstrip())
        return rest if rest.lstrip().startswith("#") else ""

    def _length(self, line: int) -> int:
        return len(self.text.lines[line - 1].rstrip("\n"))

    def _shifted(self, text: str, node: Any, indent: str) -> list[str]:
        """The lines of a statement, moved to an indent."""
        lines = text.split("\n")
        less = node.col_offset
        moved = [line[less:] if not line[:less].strip() else line.lstrip() for line in lines[1:]]
        return [indent + lines[0], *(indent + line if line.strip() else "" for line in moved)]

    def _compound(self, node: Any, indent: str) -> list[str]:
        """A statement with blocks."""
        if node.body[0].lineno == node.lineno:  # all in one line
            return self._simple(node, indent)
        lines = self._header(node, indent)
        lines += self._filled(node.body, indent, node.lineno)
        for handler in getattr(node, "handlers", ()):
            lines += self._header(handler, indent) + self._filled(handler.body, indent, handler.lineno)
        lines += self._otherwise(node, indent)
        if getattr(node, "finalbody", None):
            lines += [f"{indent}finally:", *self._filled(node.finalbody, indent, node.finalbody[0].lineno - 1)]
        return lines

    def _header(self, node: Any, indent: str, *, further: bool = False) -> list[str]:
        """The line of a compound statement that ends in a colon; further: of an `elif` that stays one."""
        start = self.text.span(node)[0]
        parts = [part for part in self.folded.alive(node) if part not in _inner(node)]
        edits = [edit for part in parts for edit in self.editor.edits(part)]
        line = node.body[0].lineno
        comments = line - 1
        while comments > node.lineno and not self.text.lines[comments - 1].split("#")[0].strip():
            comments -= 1
        end = self.text.at(comments, 0) + self._length(comments)
        head = FOR_TOOLS.sub("", self.editor.between(start, end, edits))
        if head.startswith("elif") and not further:
            head = head.removeprefix("el")
        return self._shifted(head, node, indent)

    def _filled(self, block: list[ast.stmt], indent: str, after: int) -> list[str]:
        return self._block(block, indent + STEP, after) or [f"{indent}{STEP}pass"]

    def _otherwise(self, node: Any, indent: str) -> list[str]:
        """What stands under `else`, or the next `elif`."""
        rest = getattr(node, "orelse", None)
        if not rest:
            return []
        first = rest[0]
        follows = isinstance(first, ast.If) and self.text.source.startswith("elif", self.text.span(first)[0])
        if isinstance(first, ast.If) and follows and id(first) not in self.folded.decided:
            lines = [*self._header(first, indent, further=True), *self._filled(first.body, indent, first.lineno)]
            return [*lines, *self._otherwise(first, indent)]
        if isinstance(first, ast.If) and follows and not self.folded.decided[id(first)]:
            return self._otherwise(first, indent)
        at = first.lineno - 1
        while at > 0 and not self.text.lines[at - 1].lstrip().startswith("else"):
            at -= 1
        line = FOR_TOOLS.sub("", self.text.lines[at - 1].strip()) if not follows else "else:"
        block = self._block(rest, indent + STEP, at if not follows else first.lineno)
        return [indent + line, *block] if block else []

    def _is_apart(self, node: Any, after: int) -> bool:
        """Whether there is an empty line above a statement and its comments."""
        line = node.lineno - len(self._above(node, after, ""))
        return line - 1 > after and not self.text.lines[line - 2].strip()

    def _above(self, node: Any, after: int, indent: str) -> list[str]:
        """The comments in the lines directly above a statement, below a line."""
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        lines: list[str] = []
        for number in range(first - 1, after, -1):
            line = self.text.lines[number - 1].strip()
            if not line.startswith("#"):
                break
            lines.insert(0, indent + line)
        return lines


def _inner(node: Any) -> list[ast.AST]:
    """The parts of a compound statement that are blocks."""
    parts: list[Any] = [*node.body, *getattr(node, "orelse", ()), *getattr(node, "finalbody", ())]
    return [*parts, *getattr(node, "handlers", ())]


def _flat(text: str) -> str:
    """Several lines as one."""
    flat = re.sub(r"\s*\n\s*", " ", text)
    return re.sub(r"\( |,? (?=\))", lambda found: found[0].strip(" ,"), flat) if flat != text else flat


def _joined(head: str, indent: int) -> str:
    """A header in one line, where it fits without its types."""
    if "\n" not in head or "#" in head:
        return head
    flat = _flat(head)
    return flat if len(flat) + indent <= WIDTH else head
