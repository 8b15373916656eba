"""Small images of all kinds that are read, to be spoilt."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

WORDS = (
    b"\xff\xd8", b"\xff\xc0", b"\xff\xc4", b"\xff\xda", b"\xff\xdb", b"\xff\xe1", b"Exif\0\0", b"II*\0", b"MM\0*",
    b"IHDR", b"IDAT", b"acTL", b"fdAT", b"iCCP", b"zTXt", b"VP8 ", b"VP8L", b"VP8X", b"ANMF", b"ALPH", b"BM", b"GIF89a",
)  # fmt: skip


def image_files() -> list[bytes]:
    """JPEG (upright and turned, progressive, CMYK), PNG (16 bits, palette, alpha), BMP, WebP, TIFF and GIF."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    colours, grey = Image.fromarray(pixels), Image.fromarray(pixels[..., 0])
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    clear = colours.convert("RGBA")
    clear.putalpha(grey)
    turned = Image.Exif()
    turned[0x0112] = 6
    frames: dict[str, Any] = {"save_all": True, "append_images": [grey.convert("RGB")], "duration": 10}
    return [
        saved(colours, "JPEG", exif=turned),
        saved(colours, "JPEG", progressive=True),
        saved(colours.convert("CMYK"), "JPEG"),
        saved(grey, "JPEG"),
        saved(deep, "PNG"),
        saved(colours.quantize(8), "PNG", transparency=2),
        saved(clear, "PNG"),
        saved(colours, "PNG", **frames),
        saved(colours, "BMP"),
        saved(grey.convert("1"), "BMP"),
        saved(colours, "WEBP"),
        saved(clear, "WEBP", lossless=True),
        saved(colours, "WEBP", **frames),
        saved(colours, "TIFF", compression="tiff_lzw"),
        saved(deep, "TIFF"),
        saved(colours, "TIFF", compression="jpeg"),
        saved(grey, "TIFF", compression="packbits"),
        saved(colours, "GIF", **frames),
    ]


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """An image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
