"""PNG images: a small reader for `predict`. Grey, RGB, RGBA and palette images, not interlaced.

Source     Portable Network Graphics, W3C Recommendation, third edition (sections 5, 7, 9 and 11)
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from .files import ByteFile

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_PIXELS = 1 << 24
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type: grey, RGB, palette, grey + alpha, RGBA
PALETTE = 3


def read_png(path: str | Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """An image as bytes (C, H, W), C = 1 for grey and 3 for colour. `size` is the height and width that is wanted.

    Errors   DataError for what is no PNG, damaged, of another size, too large, interlaced, of 16 bits, or partly
             transparent
    """
    with ByteFile(path) as file:
        if file.read(len(SIGNATURE), "the PNG signature") != SIGNATURE:
            raise file.error("is not a PNG image")
        header, palette, alpha, data = _chunks(file)
        width, height, depth, colour = header
        if size is not None and size != (height, width):  # before a picture of another size is decoded
            file.remedy = "scale the image first"
            raise file.error(f"is {height} x {width} pixels, the net reads {size[0]} x {size[1]}")
        bits = width * CHANNELS[colour] * depth
        line = 1 + -(-bits // 8)
        inflater = zlib.decompressobj()
        try:
            raw = inflater.decompress(data, line * height + 1)
        except zlib.error as problem:
            raise file.error(f"the image data is damaged ({problem})") from None
        if len(raw) != line * height:
            raise file.error(f"the image data has {len(raw)} bytes, {width} x {height} pixels need {line * height}")
        rows = np.frombuffer(raw, np.uint8).reshape(height, line)
        if rows[:, 0].max() > 4:
            raise file.error("the image data is damaged (unknown filter)")
        step = max(1, CHANNELS[colour] * depth // 8)
        pixels = _samples(_unfilter(rows, step), width * CHANNELS[colour], depth)
        image = pixels.reshape(height, width, CHANNELS[colour])
        return _colours(file, image, colour, depth, palette, alpha)


def _chunks(file: ByteFile) -> tuple[tuple[int, int, int, int], bytes, bytes, bytes]:
    """Header (width, height, depth, colour type), palette, transparency and compressed data, all checked."""
    header, parts = None, {b"PLTE": bytearray(), b"tRNS": bytearray(), b"IDAT": bytearray()}
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", file.read(8, "a chunk"))
        if length > file.capacity:
            raise file.error(f"a chunk promises {length} bytes, more than the file has")
        content = file.read(length, "a chunk")
        (checksum,) = struct.unpack(">I", file.read(4, "a checksum"))
        if checksum != zlib.crc32(kind + content):
            raise file.error("the checksum of a chunk is wrong: the file is damaged")
        if header is None:
            if kind != b"IHDR" or length != 13:
                raise file.error("does not begin with a PNG header")
            header = _header(file, content)
        elif kind in parts:
            parts[kind] += content
    if header is None:
        raise file.error("has no PNG header")
    return header, bytes(parts[b"PLTE"]), bytes(parts[b"tRNS"]), bytes(parts[b"IDAT"])


def _header(file: ByteFile, content: bytes) -> tuple[int, int, int, int]:
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", content)
    save_again = "open it in an image program and save it as a plain 8-bit PNG"
    file.remedy = save_again
    if not width or not height or width * height > MOST_PIXELS:
        raise file.error(f"is {width} x {height} pixels, allowed are 1 to {MOST_PIXELS}")
    if interlaced:
        raise file.error("is interlaced, which is not read here")
    if colour not in CHANNELS or depth not in ((1, 2, 4, 8) if colour in (0, PALETTE) else (8,)):
        raise file.error(f"has {depth} bits of colour type {colour}; 8-bit grey, RGB, RGBA and palette images are read")
    return width, height, depth, colour


def _unfilter(rows: np.ndarray, step: int) -> np.ndarray:
    """Undo the filters: each line is stored as the difference to a prediction from its left and upper neighbours."""
    image = np.zeros((rows.shape[0] + 1, rows.shape[1] - 1), np.uint8)
    for y, row in enumerate(rows):
        kind, line, above, out = row[0], row[1:], image[y], image[y + 1]
        if kind == 0:
            out[:] = line
        elif kind == 1:
            for channel in range(step):
                out[channel::step] = np.cumsum(line[channel::step], dtype=np.uint8)
        elif kind == 2:
            np.add(line, above, out=out)
        else:
            out[:] = _predicted(line.tolist(), above.tolist(), step, average=kind == 3)
    return image[1:]


def _predicted(line: list[int], above: list[int], step: int, average: bool) -> list[int]:
    """A line of filter 3 (mean of left and above) or 4 (Paeth's: the neighbour nearest to left + above - corner)."""
    out = [0] * len(line)
    for i, value in enumerate(line):
        left, up = (out[i - step], above[i]) if i >= step else (0, above[i])
        if average:
            guess = (left + up) // 2
        else:
            corner = above[i - step] if i >= step else 0
            base = left + up - corner
            guess = min((left, up, corner), key=lambda neighbour: abs(base - neighbour))  # ties: in this order
        out[i] = (value + guess) & 255
    return out


def _samples(lines: np.ndarray, count: int, depth: int) -> np.ndarray:
    """Samples of 1, 2, 4 or 8 bits, unpacked (H, count)."""
    if depth == 8:
        return lines
    bits = np.unpackbits(lines, axis=1).reshape(len(lines), -1, depth)
    weights = 1 << np.arange(depth - 1, -1, -1)
    return (bits @ weights).astype(np.uint8)[:, :count]


def _colours(file: ByteFile, image: np.ndarray, colour: int, depth: int, palette: bytes, alpha: bytes) -> np.ndarray:
    """(C, H, W) grey or RGB from the samples (H, W, channels) of a colour type."""
    opaque = True
    if colour == PALETTE:
        table = np.frombuffer(palette, np.uint8)
        if len(table) % 3 or int(image.max()) >= len(table) // 3:
            raise file.error("a pixel names a colour that the palette does not have")
        veil = np.full(256, 255, np.uint8)
        veil[: len(alpha)] = np.frombuffer(alpha[:256], np.uint8)
        opaque = bool((veil[image] == 255).all())
        image = table.reshape(-1, 3)[image[..., 0]]
    elif colour in (4, 6):
        opaque = bool((image[..., -1] == 255).all())
        image = image[..., :-1]
    elif alpha:
        raise file.error("has a transparent colour, and it is not known what lies behind it")
    elif depth < 8:
        image = image * (255 // (2**depth - 1))
    if not opaque:
        raise file.error("is partly transparent, and it is not known what lies behind it")
    return np.ascontiguousarray(image.astype(np.uint8).transpose(2, 0, 1))
