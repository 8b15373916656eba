"""Windows that slide over up to three axes (arrays/sliding_windows.py) in the language of the device.

A thread gathers each result. Arrays are (C, *S, N) or (C, *P, N), whatever their order in memory: C stands for all axes
before those of space, N for those behind them.
"""

from __future__ import annotations

from typing import Any

from ...arrays.sliding_windows import Windows
from .kernel import Elementwise, alike

AXES = 3
NUMBERS = ("size", "kernel", "stride", "padding", "dilation", "count")  # of each axis
GEOMETRY = ", ".join(f"int32 {number}{axis}" for axis in range(AXES) for number in NUMBERS)
LARGE = 2**31  # elements, whose numbers the kernels' integers do not hold


def geometry(windows: Windows) -> tuple[int, ...]:
    """The numbers of GEOMETRY; of the axes behind them, one position and a window of one."""
    numbers = [n for a in windows.axes for n in (a.size, a.kernel, a.stride, a.padding, a.dilation, a.count)]
    return (*numbers, *(1, 1, 1, 0, 1, 1) * (AXES - len(windows.axes)))


def fits(windows: Windows, *arrays: Any) -> bool:
    """Whether the kernels are for these windows and arrays."""
    return len(windows.axes) <= AXES and all(0 < array.size < LARGE for array in arrays)


PLACE = """
    int rest = (int)i;
    const int b = rest % behind; rest /= behind;
"""
WINDOW = f"""{PLACE}
    const int o2 = rest % count2; rest /= count2;
    const int o1 = rest % count1; rest /= count1;
    const int o0 = rest % count0, c = rest / count0;
"""
POSITION = f"""{PLACE}
    const int p2 = rest % size2; rest /= size2;
    const int p1 = rest % size1; rest /= size1;
    const int p0 = rest % size0, c = rest / size0;
"""


def seen(each: str) -> str:
    """`each` for all elements of window o that are in the input: number k, at place `at` of x."""
    return f"""{WINDOW}
    for (int k = 0, k0 = 0; k0 < kernel0; ++k0) {{
        const int i0 = o0 * stride0 + k0 * dilation0 - padding0;
        for (int k1 = 0; k1 < kernel1; ++k1) {{
            const int i1 = o1 * stride1 + k1 * dilation1 - padding1;
            for (int k2 = 0; k2 < kernel2; ++k2, ++k) {{
                const int i2 = o2 * stride2 + k2 * dilation2 - padding2;
                if (i0 < 0 || i0 >= size0 || i1 < 0 || i1 >= size1 || i2 < 0 || i2 >= size2) continue;
                const int at = (((c * size0 + i0) * size1 + i1) * size2 + i2) * behind + b;
                {each}
            }}
        }}
    }}
    """


def seeing(each: str) -> str:
    """`each` for all windows o0, o1, o2 that see position p, through their element number k."""
    return f"""{POSITION}
    for (int k = 0, k0 = 0; k0 < kernel0; ++k0) {{
        const int from0 = p0 + padding0 - k0 * dilation0, o0 = from0 / stride0;
        const bool in0 = from0 >= 0 && o0 * stride0 == from0 && o0 < count0;
        for (int k1 = 0; k1 < kernel1; ++k1) {{
            const int from1 = p1 + padding1 - k1 * dilation1, o1 = from1 / stride1;
            const bool in1 = in0 && from1 >= 0 && o1 * stride1 == from1 && o1 < count1;
            for (int k2 = 0; k2 < kernel2; ++k2, ++k) {{
                const int from2 = p2 + padding2 - k2 * dilation2, o2 = from2 / stride2;
                if (!in1 || from2 < 0 || o2 * stride2 != from2 || o2 >= count2) continue;
                {each}
            }}
        }}
    }}
    """


OUTPUT = "const int at = (((c * count0 + o0) * count1 + o1) * count2 + o2) * behind + b;"  # of a window in an array


def filled(
    kernel: Elementwise, xp: Any, windows: Windows, reads: Any, out: Any, *more: Any, behind: int = 1
) -> Any:
    """`out`, of which a thread makes each element from `reads` and what else the kernel takes before `behind`.

    NotImplemented where the kernels are not for these windows or arrays.
    """
    if not alike(reads, out) or not fits(windows, reads, out):
        return NotImplemented
    return kernel(xp, reads, *more, behind, *geometry(windows), out, size=out.size)


def over_windows(name: str, inputs: str, outputs: str, operation: str) -> Elementwise:
    """A kernel whose other parameters are followed by `behind`, the length of N, and the geometry."""
    return Elementwise(name, f"{inputs}, int32 behind, {GEOMETRY}", outputs, operation)
