"""What a written file begins with: how a layer comes by its arrays. The one part that no layer's source says."""

from __future__ import annotations

from collections.abc import Iterable

ERROR = '''class {name}(ValueError):
    """What is wrong with the numbers that a layer was given, and what to do about it."""

    def __init__(self, message, *, hint=None, **more):
        super().__init__(message if hint is None else f"{{message}}; {{hint}}")'''

ARRAYS = '''class Arrays(dict):
    """Arrays by name, also as attributes."""

    __getattr__ = dict.__getitem__'''

LAYER = '''class Layer:
    """A layer of a net in use: what it was told, and its arrays, those of `weights` that are called by its name.

    params   parameters and running statistics, also as `state`
    """

    dtype = "{dtype}"

    def __init__(self, weights, name, /, **told):
        self.name = name
        own = {{key.rpartition(".")[2]: key for key in weights if key.rpartition(".")[0] == name}}
        self.params = self.state = Arrays({{word: weights[key] for word, key in own.items()}})
        vars(self).update(told)

    def __call__(self, *bottoms):
        tops = self.forward(*bottoms)
        return tops[0] if isinstance(tops, (tuple, list)) and len(tops) == 1 else tops'''

CARRIED = "        self.carried = {}  # what the next call goes on from"
DRAWS = "        self.draws = 0"

BUF = '''    def buf(self, name, shape, dtype=None, *, over=None, like=None):
        """A new array, with its axes in memory as those of `like` (by default `over`), which has the same shape."""
        model, dtype = over if like is None else like, dtype or self.dtype
        if model is not None and model.shape == tuple(shape):
            return np.empty_like(model, dtype=dtype)
        return np.empty(shape, dtype=dtype)'''

CONSTANT = '''    def constant(self, name, of, make=None, dtype=None):
        """An array of what `make` gives, or of the numbers that it depends on."""
        return np.asarray(of if make is None else make(), dtype=dtype or self.dtype)'''

RANDOM = '''    def random(self, shape, *, by_sample=True):
        """Uniform float32 in [0, 1), the same at every call. The first axis counts samples."""
        key = {stream_key}({seed}, self.name, self.draws)
        self.draws += 1
        return {uniform}(np, key, tuple(shape), iteration=0, first_sample=0)'''


def layer_base(dtype: str, read: Iterable[str], random: dict[str, object]) -> list[str]:
    """The base of all layers, with those of its services that are read. random: the words in RANDOM."""
    read = set(read)
    text = LAYER.format(dtype=dtype)
    if "carried" in read:
        text = text.replace("        vars(self)", f"{CARRIED}\n        vars(self)")
    if "random" in read:
        text = text.replace("        tops = ", f"{DRAWS}\n        tops = ")
    for word, value in (("phase", '"eval"'), ("xp", "np")):
        if f"{word} of another name" in read:
            text = text.replace("    dtype = ", f"    {word} = {value}\n    dtype = ")
    parts = [text]
    parts += [BUF] if "buf" in read else []
    parts += [CONSTANT] if "constant" in read else []
    parts += [RANDOM.format(**random)] if "random" in read else []
    return "\n\n".join(parts).split("\n")
