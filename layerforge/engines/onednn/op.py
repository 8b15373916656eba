"""What a layer runs: a primitive bound to arrays, made at its first use and again only for other shapes or strides."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from operator import is_
from typing import Any

import numpy as np

from ...arrays import threads
from .binding import Primitive, Recipe, check, runtime
from .strides import describable

SMALL_WORK, SMALL_SIZE = 2**20, 2**15  # operations and elements of a product: about 4 us of one thread

# From the arrays of a call to the recipe and what each array is; None stands for an array that is not given.
Maker = Callable[..., tuple[Recipe, Sequence[int]]]


def small(arrays: Sequence[np.ndarray]) -> bool:
    """Whether one thread multiplies these matrices, the first two, sooner than several."""
    a, b = arrays[:2]
    return 2 * a.size * b.shape[-1] <= SMALL_WORK and sum(array.size for array in arrays) <= SMALL_SIZE


class Work:
    """Something to be done on arrays: at once on those that it saw last; others are bound first."""

    def __init__(self) -> None:
        self.bound: tuple[Any, ...] = ()
        self.runtime = runtime()

    def __call__(self, *arrays: Any) -> None:
        if len(arrays) != len(self.bound) or not all(map(is_, arrays, self.bound)):
            self.bind(arrays)
        runtime = self.runtime
        watch = runtime.watch
        if watch.trace is not None:
            watch.trace.append((self, self.bound))
        if not watch.dry_run:
            self.run()

    def bind(self, arrays: Sequence[Any]) -> None:
        """Take over these arrays."""
        self.bound = tuple(arrays)
        self.runtime.count_binding()

    def repeats(self) -> list[Callable[[], Any]]:
        """What to call, one after the other, to do it again; what returns anything but 0 has failed."""
        return [self.run]

    def run(self) -> None:
        """Do it on the arrays that it is bound to."""
        raise NotImplementedError


class Op(Work):
    """A primitive bound to arrays. `maker` describes it for arrays of given shapes and strides.

    memory          where bytes of its own come from, by name and number
    added           the arguments whose results are added to what is there
    lower_products  products of float32 may be computed in bfloat16
    """

    def __init__(
        self, maker: Maker, options: Sequence[Any], memory: Callable[[str, int], np.ndarray],
        added: Sequence[int] = (), *, lower_products: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.maker = maker
        self.options = tuple(options)
        self.memory = memory
        self.added = tuple(added)
        self.lower_products = lower_products
        self.copied: list[tuple[np.ndarray, np.ndarray, bool]] = []  # copy, original, whether that is a result
        self.used: list[np.ndarray] = []
        self.made: dict[Any, Primitive] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.execute = self.runtime.lib.dnnl_primitive_execute

    def repeats(self) -> list[Callable[[], Any]]:
        return [self.run] if self.copied else [functools.partial(self.execute, *call) for call in self.calls]

    def run(self) -> None:
        for copy, original, _ in self.copied:
            np.copyto(copy, original)
        for call in self.calls:
            status = self.execute(*call)
            if status:
                check(status, f"running {self.maker.__name__}")
        for copy, original, is_result in self.copied:
            if is_result:
                np.copyto(original, copy)

    def bind(self, arrays: Sequence[Any]) -> None:
        """Take over the addresses of these arrays, or of copies of those that oneDNN cannot be told of."""
        mine = [a if a is None or describable(a) else self._copy(f"argument {i}", a) for i, a in enumerate(arrays)]
        given = [a for a in mine if a is not None]
        key = tuple([None if a is None else (a.shape, a.strides, a.dtype) for a in mine])
        primitive = self.made.get(key)
        if primitive is None:
            dry_run, kind = self.runtime.watch.dry_run, (self.maker, self.options, self.added, self.lower_products, key)
            if dry_run and kind in dry_run.made:
                dry_run.made[kind].ask(self.memory)  # that of another layer: it says what memory is needed
                return
            primitive = self.made[key] = self._make(mine, given)
            if dry_run:
                dry_run.made[kind] = primitive
        super().bind(arrays)
        # What the calls work on is held on to: they know no more of it than addresses.
        self.calls, self.used = primitive.bind(given, self.memory)
        pairs = zip(given, (a for a in arrays if a is not None), primitive.results, strict=True)
        self.copied = [(copy, original, result) for copy, original, result in pairs if copy is not original]

    def _make(self, arrays: Sequence[Any], given: Sequence[np.ndarray]) -> Primitive:
        """The primitive for such arrays."""
        watch = self.runtime.watch
        outer, watch.lower_products = watch.lower_products, self.lower_products
        try:
            return self._for_threads(arrays, given)
        finally:
            watch.lower_products = outer

    def _for_threads(self, arrays: Sequence[Any], given: Sequence[np.ndarray]) -> Primitive:
        """The primitive for as many threads as are worth it. Sharing out small work takes longer than doing it."""
        recipe, which = self.maker(*arrays, *self.options)
        # Only of these products it is known that they keep to the number of threads that they were made for.
        if not (recipe.kind == "matmul" and recipe.implementation().startswith("brg") and small(given)):
            return Primitive(recipe, which, given, self.added)
        with threads.alone():
            recipe, which = self.maker(*arrays, *self.options)
            return Primitive(recipe, which, given, self.added)

    def _copy(self, name: str, array: np.ndarray) -> np.ndarray:
        """Memory for a copy, which is made at every call."""
        return self.memory(name, array.nbytes).view(array.dtype).reshape(array.shape)
