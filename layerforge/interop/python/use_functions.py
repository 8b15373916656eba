"""The functions of a written file that stand beside its layers: what happens to raw samples, and the program."""

from __future__ import annotations

NUMBERS = '''\
def numbers(x, name):
    """x as an array of numbers, none of which is masked, NaN or infinite."""
    if np.ma.is_masked(x):
        raise ValueError(f"{name} has masked elements; fill them in: array.filled(value)")
    x = np.asarray(x)
    if x.dtype.kind not in "fiu":
        raise ValueError(f"{name} must hold numbers, got {x.dtype}")
    if not np.isfinite(x).all():
        raise ValueError(f"{name}: sample {np.argwhere(~np.isfinite(x))[0][0]} is not finite")
    return x'''

ENCODED = '''\
def encoded(x, name, mean, factor, missing=None, order=None):
    """The columns of a table (N, columns) as in training: (v - mean) factor, with v the cell.

    missing   for each column what stands for a cell that is NaN; NaN, or no `missing`: no cell may be missing there
    order     of the columns that the net sees, by number; behind those of x come numbers that are 1 where a cell of
              these is missing, and 0 elsewhere
    """
    if np.ma.is_masked(x):
        raise ValueError(f"{name} has masked elements; fill them in: array.filled(np.nan)")
    x, columns = np.asarray(x), len(mean)
    if x.ndim != 2 or x.shape[1] != columns or x.dtype.kind not in "fiub":
        raise ValueError(f"{name}: rows of {columns} numbers are expected, (N, {columns}); got {x.dtype} {x.shape}")
    x = x.astype(np.float64)
    absent, missing = np.isnan(x), np.full(columns, np.nan) if missing is None else np.asarray(missing)
    refused = np.isinf(x) | (absent & np.isnan(missing))
    if refused.any():
        row, column = np.argwhere(refused)[0]
        raise ValueError(f"{name}: row {row} has no number in column {column}, and training missed none there")
    y = (np.where(absent, missing, x) - np.asarray(mean)) * np.asarray(factor)
    return y if order is None else np.concatenate([y, absent], axis=1)[:, order]'''

SCALED = '''\
def scaled(x, factor, offset, dtype):
    """x factor + offset, as in training; wide numbers may be far from 0, and are scaled in float64."""
    working = "float64" if x.dtype.itemsize > 4 else dtype
    y = np.multiply(x, np.asarray(factor, working), dtype=working, casting="same_kind")
    return (y + np.asarray(offset, working)).astype(dtype)'''

CROPPED = '''\
def cropped(images, height, width):
    """The middle of images (..., H, W)."""
    top, left = (images.shape[-2] - height) // 2, (images.shape[-1] - width) // 2
    return images[..., top : top + height, left : left + width]'''

LOADED = '''\
def loaded(path, names):
    """The arrays of a file: that of a .npy, or those that a .npz has by these names."""
    found = np.load(path)
    if isinstance(found, np.ndarray):
        if len(names) > 1:
            raise ValueError(f"one array, {len(names)} are needed: a .npz with {', '.join(names)}")
        return [found]
    absent = [name for name in names if name not in found]
    if absent:
        raise ValueError(f"it has no array {absent[0]}, but {', '.join(found) or 'none'}")
    return [found[name] for name in names]'''

MAIN = """\
def main(arguments):
    usage = "usage: python net.py INPUT [SCORES.npy]    INPUT: {files}"
    if arguments and arguments[0] in ("-h", "--help"):
        print(usage)
        return
    if not 1 <= len(arguments) <= 2:
        sys.exit(usage)
    try:
        given = loaded(arguments[0], {names})
    except Exception as problem:  # of a file that may be anything
        sys.exit(f"{{arguments[0]}} cannot be read: {{problem}}")
    net = Net()
    try:
        if len(arguments) == 2:
            np.save(arguments[1], net.scores(*given))
        else:
            print(*net.predict(*given).tolist(), sep="\\n")
    except (ValueError, TypeError, IndexError, OSError) as problem:
        sys.exit(f"{{arguments[0]}}: {{problem}}")


if __name__ == "__main__":
    main(sys.argv[1:])"""
