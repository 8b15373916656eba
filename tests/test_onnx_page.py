"""docs/onnx.md: its table is made from the layers' exports."""

from __future__ import annotations

from support import onnx_page

TEXT = onnx_page.PAGE.read_text(encoding="utf-8")


def test_the_table_is_made_from_the_exports() -> None:
    assert onnx_page.filled(TEXT) == TEXT, "run `python scripts/make_docs.py`"
