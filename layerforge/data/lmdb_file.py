"""LMDB files, read without the library: a tree of pages, every number in it checked before it is used.

The library maps a file into memory and believes it: a damaged or shortened one ends the process. Here pages are read
one by one, so that whatever the bytes are, the worst that comes is an error with the place in the file.

    page   number (8 bytes), padding (2), flags (2); then of a branch or a leaf where its list of nodes ends and where
           the nodes begin (2 each), and the places of the nodes (2 each); of an overflow page how many follow (4)
    node   8 bytes, key, value. Of a leaf: length of the value (4), flags (2), length of the key (2); a large value is
           in overflow pages, and 8 bytes name the first of them. Of a branch: a page (6), length of the key (2)
    meta   pages 0 and 1: magic number, version, address, size of the map, two trees (of free pages and of records),
           last page, number of the transaction; the newer one counts

All numbers are little-endian, as 64-bit machines write them.

Source     lmdb.h and mdb.c of LMDB 0.9 (data version 1)
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..schema.errors import DataError
from ..schema.locations import BytePlace
from ..schema.texts import printable
from .files import file_error, reading, size_of

MAGIC, VERSION = 0xBEEFC0DE, 1
HEADER, NODE = 16, 8  # bytes before what is in a page, and in a node
BRANCH, LEAF, OVERFLOW, META, LEAF_OF_FIXED = 1, 2, 4, 8, 0x20  # flags of pages
BIG, TREE, SEVERAL = 1, 2, 4  # flags of nodes: value in overflow pages; a tree of its own; several values of one key
PAGE_SIZES = tuple(1 << n for n in range(8, 17))
HEAD = struct.Struct("<QHHHH")  # of a page; the last two are the lower and the upper end, or a number of pages
TREE_HEAD = struct.Struct("<IHHQQQQQ")  # padding, flags, depth, branch, leaf and overflow pages, entries, root
META_HEAD = struct.Struct("<IIQQ48s48sQQ")
NOWHERE = (1 << 64) - 1  # the root of a tree without records
DEEPEST = 32  # what the library allows
MOST_KEY = 64  # bytes of a key that an error shows
REMEDY = "write the database again; a copy that was cut short is one cause"


@dataclass(frozen=True)
class Tree:
    """A tree: flags, levels, records, and the page of its root."""

    flags: int
    depth: int
    entries: int
    root: int


class LmdbFile:
    """The records of a database, in the order of their keys. Several threads may read it at once.

    path   of the file with the data: data.mdb in the database's folder

    Errors   DataError where it is no such database, or a page or node of it cannot be
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.size = size_of(path)
        with reading(path):
            self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            self.page_size, tree = self._newest()
            self.nodes, self.places, self.lengths, self.is_big = self._index(tree)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let the file go."""
        descriptor, self._file = self._file, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        if getattr(self, "_file", -1) >= 0:
            self.close()

    def __len__(self) -> int:
        return len(self.places)

    def key(self, number: int) -> bytes:
        """The key of a record."""
        at = int(self.nodes[number])
        head = self.bytes_at(at, NODE)
        return self.bytes_at(at + NODE, int.from_bytes(head[6:8], "little"))

    def words(self, number: int) -> str:
        """What errors call a record."""
        key = self.key(number)[:MOST_KEY].decode("ascii", "backslashreplace")
        return f"record {number} (key '{printable(key)}')"

    def start(self, number: int) -> int:
        """Where the value of a record begins in the file; overflow pages are looked at.

        Errors   DataError where they are none
        """
        place = int(self.places[number])
        if self.is_big[number]:
            page = place // self.page_size
            found, _, flags, low, high = HEAD.unpack(self.bytes_at(place - HEADER, HEADER))
            wanted = -(-(HEADER + int(self.lengths[number])) // self.page_size)
            if found != page or not flags & OVERFLOW or low | high << 16 < wanted:
                raise self.error(place - HEADER, f"page {page}, where {self.words(number)} should be, holds no value")
        return place

    def value(self, number: int) -> bytes:
        """The value of a record."""
        return self.bytes_at(self.start(number), int(self.lengths[number]))

    def bytes_at(self, at: int, count: int) -> bytes:
        """Bytes of the file; DataError where it has not so many."""
        if at + count <= self.size:
            with reading(self.path):
                data = os.pread(self._file, count, at)
            if len(data) == count:
                return data
        raise file_error(self.path, f"is cut off: it ends before byte {at + count}", REMEDY)

    def error(self, at: int, message: str, hint: str | None = REMEDY) -> DataError:
        """A DataError about a byte of the file."""
        return DataError(message, place=BytePlace(self.path, 0, at), hint=hint)

    # The tree ---------------------------------------------------------------------------------------------------------

    def _newest(self) -> tuple[int, Tree]:
        """Size of a page, and the tree of the records."""
        first = self._meta(0)
        if first is None:
            raise file_error(self.path, "is no LMDB database of a 64-bit machine", "name its folder, or its data.mdb")
        page_size, tree, transaction = first
        second = self._meta(page_size)
        if second is not None and second[2] > transaction:
            tree = second[1]
        if tree.flags & SEVERAL:
            raise file_error(self.path, "has several values under one key", "write one value for each key")
        return page_size, tree

    def _meta(self, at: int) -> tuple[int, Tree, int] | None:
        """Size of a page, the tree of the records and the number of the transaction; None where none is written."""
        if at + HEADER + META_HEAD.size > self.size:
            return None
        page = self.bytes_at(at, HEADER + META_HEAD.size)
        magic, version, _, _, free, records, _, transaction = META_HEAD.unpack_from(page, HEADER)
        if magic != MAGIC or not HEAD.unpack_from(page)[2] & META:
            return None
        if version != VERSION:
            hint = f"write it with LMDB 0.9, whose version is {VERSION}"
            raise file_error(self.path, f"is an LMDB database of data version {version}", hint)
        page_size = TREE_HEAD.unpack(free)[0]
        if page_size not in PAGE_SIZES:
            raise self.error(at, f"pages cannot have {page_size} bytes: the file is damaged")
        _, flags, depth, _, _, _, entries, root = TREE_HEAD.unpack(records)
        return page_size, Tree(flags, depth, entries, root), transaction

    def _index(self, tree: Tree) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of each record the place of its node and of its value, the value's length, and whether that is in pages."""
        parts = []
        if tree.root != NOWHERE:
            left = self.size // self.page_size  # pages that may be gone through: a circle has no end
            todo = [(tree.root, 1)]
            while todo:
                number, depth = todo.pop()
                left -= 1
                if depth > min(tree.depth, DEEPEST) or left < len(todo):
                    raise self.error(number * self.page_size, "the tree of its pages goes in a circle")
                content, at = self._page(number), number * self.page_size
                flags = HEAD.unpack_from(content)[2]
                if flags & BRANCH:
                    todo += [(page, depth + 1) for page in self._children(content, at)[::-1]]
                elif flags & LEAF and not flags & LEAF_OF_FIXED:
                    parts.append(self._leaf(content, at))
                else:
                    raise self.error(at, f"page {number} is none of the tree")
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)] if parts else [np.empty(0, "i8")] * 4
        if len(columns[0]) != tree.entries:
            message = f"is damaged: {len(columns[0])} records are found, and there should be {tree.entries}"
            raise file_error(self.path, message, REMEDY)
        nodes, places, lengths, big = columns
        return nodes, places, lengths, big.astype(bool)

    def _page(self, number: int) -> bytes:
        at = number * self.page_size
        if at + self.page_size > self.size:
            raise file_error(self.path, f"is cut off: it has {self.size} bytes, and page {number} is missing", REMEDY)
        content = self.bytes_at(at, self.page_size)
        found = HEAD.unpack_from(content)[0]
        if found != number:
            raise self.error(at, f"page {number} is marked as page {found}")
        return content

    def _nodes(self, content: bytes, at: int) -> tuple[np.ndarray, np.ndarray]:
        """The places of a page's nodes in it, and their heads (nodes, 4) as numbers of 16 bits."""
        low = HEAD.unpack_from(content)[3]
        if not HEADER <= low <= self.page_size or low % 2:
            raise self.error(at, f"the list of nodes ends at {low}")
        places = np.frombuffer(content, "<u2", (low - HEADER) // 2, HEADER).astype(np.int64)
        if len(places) and (places.min() < low or places.max() > self.page_size - NODE):
            raise self.error(at, "a node is outside of its page")
        flat = np.frombuffer(content, np.uint8)[places[:, None] + np.arange(NODE)]
        return places, flat.reshape(-1).view("<u2").reshape(-1, 4).astype(np.int64)

    def _children(self, content: bytes, at: int) -> list[int]:
        """The pages below a branch, in order."""
        _, heads = self._nodes(content, at)
        if not len(heads):
            raise self.error(at, "a branch has no nodes")
        return (heads[:, 0] | heads[:, 1] << 16 | heads[:, 2] << 32).tolist()

    def _leaf(self, content: bytes, at: int) -> tuple[np.ndarray, Any, Any, Any]:
        """What `_index` gives of the records of a leaf."""
        places, heads = self._nodes(content, at)
        lengths, flags, keys = heads[:, 0] | heads[:, 1] << 16, heads[:, 2], heads[:, 3]
        if (flags & (TREE | SEVERAL)).any():
            hint = "write the records into the database itself"
            raise file_error(self.path, "holds named databases, or several values of one key", hint)
        big = flags & BIG != 0
        values = places + NODE + keys
        if (values + np.where(big, 8, lengths) > self.page_size).any():
            raise self.error(at, "a record goes beyond its page")
        starts = at + values
        if big.any():
            named = np.frombuffer(content, np.uint8)[values[big][:, None] + np.arange(8)].reshape(-1).view("<u8")
            wrong = named > self.size // self.page_size  # also what the next line could not multiply
            ends = np.where(wrong, 0, named).astype(np.int64) * self.page_size + HEADER + lengths[big]
            wrong |= ends > self.size
            if wrong.any():
                what = f"page {named[wrong][0]} with a value of {lengths[big][wrong][0]} bytes is missing"
                raise file_error(self.path, f"is cut off: it has {self.size} bytes, and {what}", REMEDY)
            starts[big] = named.astype(np.int64) * self.page_size + HEADER
        return at + places, starts, lengths, big
