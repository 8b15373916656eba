"""Make docs/layers.md, the page of all built-in layers, from what they declare; fill in the tables of docs/textbook.md,
docs/caffe.md and docs/onnx.md.

    python scripts/make_docs.py

tests/layers/test_layer_docs.py fails where the page of layers is not what this script would write,
tests/test_textbook_page.py where the textbook is not, and tests/test_caffe_page.py and tests/test_onnx_page.py where
the tables of Caffe's types and of ONNX's operators are not. torch's numbers in the textbook are those of
tests/golden/textbook.json, which scripts/textbook_torch.py makes.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support import caffe_page, onnx_page, textbook

from layerforge.cli.layers_command import common_keys, headline, layer_example, parameters
from layerforge.contract.layer import Layer
from layerforge.layers import builtin_layers, by_family
from layerforge.layers.notation import NOTATION

PAGE = Path(__file__).parent.parent / "docs" / "layers.md"
HEAD = """\
# Layers

<!-- Written by scripts/make_docs.py from the layers themselves: change their docstrings and help texts instead. -->

All {count} built-in layers by family. `layerforge layers NAME` prints one of them in the terminal, and
[layers_of_your_own.md](layers_of_your_own.md) says how to add to them. Besides its hyper-parameters every layer takes
{keys}:
[config.md](config.md) explains these.

The notation of all formulas:

```text
{notation}
```

[backprop.md](backprop.md) derives all of this and works one net through by hand; [textbook.md](textbook.md) has a net
for each formula, from one number to matrices. Each layer has its formula; Shapes of its bottoms, tops and parameters
("real" or "index", which has no gradient); Backward, derived from the formula; Keeps, what forward saves for backward;
Cost, where a pass reads or writes every element once and a multiply-add is 2 flops; Errors; and Source.
"""


def page() -> str:
    """The whole page."""
    families = by_family(builtin_layers())
    count = sum(map(len, families.values()))
    keys = [f"`{key}`" for key in common_keys("layers")]
    head = HEAD.format(count=count, keys=f"{', '.join(keys[:-1])} and {keys[-1]}", notation=NOTATION)
    parts = [head, contents(families)]
    for family, layers in families.items():
        parts += [f"## {family}\n", *map(section, layers)]
    return "\n".join(parts)


def contents(families: dict[str, list[type[Layer]]]) -> str:
    """A line of links for each family."""

    def link(name: str) -> str:
        return f"[{name}](#{anchor(name)})"

    return "".join(
        f"- {link(family)}: {', '.join(link(cls.type_name) for cls in layers)}\n" for family, layers in families.items()
    )


def anchor(heading: str) -> str:
    """What GitHub and others call a heading in links."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def section(cls: type[Layer]) -> str:
    """All about one layer."""
    formula = (inspect.getdoc(cls) or "").partition("\n")[2].strip("\n")
    lines = [f"### {cls.type_name}", "", sentence(headline(cls)), "", "```text", formula, "```", ""]
    rows = list(table(cls))
    lines += [*rows, ""] if rows else []
    return "\n".join([*lines, "```yaml", *layer_example(cls), "```", ""])


def sentence(text: str) -> str:
    """A headline as a sentence. A symbol at its beginning stays as it is: X is another one than x; "a" is a word."""
    symbol = not text.startswith("a ") and (len(re.match(r"\w*", text)[0]) < 2 or not text[1].isalpha())
    return f"{text if symbol else text[:1].upper() + text[1:]}."


def table(cls: type[Layer]) -> Iterator[str]:
    """The hyper-parameters as a table; nothing where there are none."""
    rows = [
        (f"`{p['name']}`", p["type"], p["default_text"].removeprefix("default "), p["help"]) for p in parameters(cls)
    ]
    if rows:
        yield "| hyper-parameter | type | default | |"
        yield "|---|---|---|---|"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def textbook_page() -> str:
    """The textbook with its tables filled in."""
    text = textbook.PAGE.read_text(encoding="utf-8")
    shown = {program.section: textbook.printed(program) for program in textbook.programs(text)}
    return textbook.with_tables(text, shown, textbook.record())


def page_of_caffe() -> str:
    """The page on models of Caffe with its tables filled in."""
    return caffe_page.filled(caffe_page.PAGE.read_text(encoding="utf-8"))


def page_of_onnx() -> str:
    """The page on ONNX with its table filled in."""
    return onnx_page.filled(onnx_page.PAGE.read_text(encoding="utf-8"))


PAGES = (
    (PAGE, page),
    (textbook.PAGE, textbook_page),
    (caffe_page.PAGE, page_of_caffe),
    (onnx_page.PAGE, page_of_onnx),
)


def main() -> None:
    for path, make in PAGES:
        text = make()
        path.write_text(text, encoding="utf-8", newline="\n")
        print(f"{path.name}: {len(text.splitlines())} lines")


if __name__ == "__main__":
    main()
