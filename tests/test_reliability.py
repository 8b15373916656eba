"""docs/reliability.md: every promise has a proof that is there, and every format its figures."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "reliability.md").read_text()

sys.path.insert(0, str(ROOT / "scripts"))

from fuzzing.formats import FORMATS  # noqa: E402


def test_every_promise_has_a_proof_that_is_there() -> None:
    """The tests are not run here once more; what the commands name must exist and select something."""
    proofs = re.findall(r"\| `([^`]+)` \|$", PAGE, re.M)
    assert len(proofs) == len(re.findall(r"^\| \*\*", PAGE, re.M)) > 10
    for proof in proofs:
        words = shlex.split(proof)
        if words[0] == "python":
            assert (ROOT / words[1]).is_file(), proof
        if words[0] != "pytest":
            continue
        text = "".join((ROOT / word).read_text() for word in words if word.endswith(".py"))
        names = " ".join(re.findall(r"def (test_\w+)", text))
        assert names, proof
        wanted = words[words.index("-k") + 1].split(" or ") if "-k" in words else []
        assert all(word in names for word in wanted), proof


# Formats that came with the sources of images, tables and texts, with Caffe's files and torch's weights: spoilt less
# often so far.
YOUNG = ("model", "safetensors", "npy", "image", "table", "parquet", "words", "jsonl", "labelled_table")
CAFFE = ("prototxt", "caffemodel", "solverstate", "binaryproto", "caffe_h5", "lmdb", "datum", "mean")
YOUNGEST = ("onnx",)


def test_every_format_has_its_figures() -> None:
    rows = re.findall(r"^\| (\w+) \| ([\d,]+) \|", PAGE, re.M)
    assert {name for name, _ in rows} == set(FORMATS)
    for name, files in rows:
        assert int(files.replace(",", "")) >= (5_000 if name in YOUNG + CAFFE + YOUNGEST else 100_000), name
