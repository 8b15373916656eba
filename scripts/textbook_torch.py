"""Make tests/golden/textbook.json: what torch says of every formula of docs/textbook.md, in float64.

    python scripts/textbook_torch.py

needs torch 2.13. Here is the mathematics of each section, written for torch, and autograd finds the derivatives; no
gradient is written down. The names are those of the page's tables, which scripts/make_docs.py fills from the file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.autograd.functional import hessian, hvp
from torch.func import jacrev, jvp

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.golden_cases import TORCH
from support.textbook import RECORD

Numbers = Mapping[str, Any]
SECTIONS: dict[str, Callable[[], Numbers]] = {}


def section(number: str) -> Callable[[Callable[[], Numbers]], Callable[[], Numbers]]:
    """The decorated function computes the numbers of this section."""

    def enter(compute: Callable[[], Numbers]) -> Callable[[], Numbers]:
        SECTIONS[number] = compute
        return compute

    return enter


def leaf(*numbers: Any) -> Any:
    """Tensors with a gradient, one for each argument."""
    made = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in numbers]
    return made if len(made) > 1 else made[0]


def constant(numbers: Any) -> Tensor:
    """A tensor without a gradient."""
    return torch.tensor(numbers, dtype=torch.float64)


def grads(tops: Tensor | Sequence[Tensor], dy: Any, of: Sequence[Tensor]) -> list[Tensor]:
    """The gradients of some tensors from tops and what reaches them; autograd may be asked again."""
    tops = [tops] if isinstance(tops, Tensor) else list(tops)
    cotangents = [torch.as_tensor(each, dtype=torch.float64) for each in (dy if len(tops) > 1 else [dy])]
    return list(grad(tops, of, cotangents, retain_graph=True))


# 1 One to one ---------------------------------------------------------------------------------------------------------


@section("1.1")
def one_function() -> Numbers:
    x = leaf(3)
    y = x**2
    (dx,) = grads(y, 2, [x])
    return {"y": y, "dx": dx}


@section("1.2")
def usual_functions() -> Numbers:
    functions = {
        "Exp": torch.exp, "Log": torch.log, "Sqrt": torch.sqrt, "Reciprocal": torch.reciprocal,
        "Sigmoid": torch.sigmoid, "Tanh": torch.tanh, "ReLU": torch.relu,
    }  # fmt: skip
    return {name: value_and_grads(f, 2) for name, f in functions.items()}


def value_and_grads(f: Callable[..., Tensor], *numbers: Any) -> list[Tensor]:
    """f of some tensors, and its gradients, as one list of numbers."""
    inputs = [leaf(x) for x in numbers]
    y = f(*inputs)
    return [y, *(number for g in grads(y, 1, inputs) for number in g.reshape(-1))]


@section("1.3")
def chain() -> Numbers:
    x = leaf(0.5)
    u = 1 / x
    y = u**2
    du, dx = grads(y, 1, [u, x])
    return {"u": u, "y": y, "du": du, "dx": dx}


# 2 One to many --------------------------------------------------------------------------------------------------------


@section("2.1")
def fork() -> Numbers:
    x = leaf(2)
    u, v = x**2, 1 / x
    (dx,) = grads([u, v], [1, 8], [x])
    return {"u": u, "v": v, "dx": dx}


@section("2.2")
def broadcast() -> Numbers:
    x, a = leaf(3, [1, 2, 4])
    y = x * a
    dx, da = grads(y, [1, -1, 0.5], [x, a])
    return {"y": y, "dx": dx, "da": da}


@section("2.3")
def shared_weight() -> Numbers:
    x, w = leaf(2, 3)
    h = w * x
    y = w * h
    dh, dw, dx = grads(y, 1, [h, w, x])
    return {"y": y, "dh": dh, "dw": dw, "dx": dx}


# 3 Many to one --------------------------------------------------------------------------------------------------------


@section("3.1")
def functions_of_a_vector() -> Numbers:
    functions: dict[str, Callable[..., Tensor]] = {
        "Sum": torch.sum, "Mean": torch.mean, "Prod": torch.prod, "SumSquare": lambda x: (x**2).sum(),
        "Norm": torch.linalg.vector_norm, "Max": torch.max, "LogSumExp": lambda x: torch.logsumexp(x, 0),
    }  # fmt: skip
    return {name: value_and_grads(f, [3, 4]) for name, f in functions.items()}


@section("3.2")
def gates() -> Numbers:
    functions = {
        "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": torch.div,
        "Maximum": torch.maximum, "Minimum": torch.minimum,
    }  # fmt: skip
    apart = {name: value_and_grads(f, 4, 2) for name, f in functions.items()}
    return apart | {f"{name}, tie": value_and_grads(functions[name], 2, 2) for name in ("Maximum", "Minimum")}


@section("3.3")
def net_of_gates() -> Numbers:
    a, b, c = leaf(1, 3, 2)
    s, m = a + b, torch.maximum(b, c)
    y = s * m
    names = {"ds": s, "dm": m, "da": a, "db": b, "dc": c}
    return {"y": y} | dict(zip(names, grads(y, 1, list(names.values())), strict=True))


@section("3.4")
def neuron() -> Numbers:
    x, w, b = leaf([1, 2], [4, -1], -2)
    z = w @ x + b
    y = torch.sigmoid(z)
    loss = nn.functional.mse_loss(y, constant(1))
    names = {"dy": y, "dz": z, "dw": w, "db": b, "dx": x}
    return {"z": z, "y": y, "loss": loss} | dict(zip(names, grads(loss, 1, list(names.values())), strict=True))


# 4 Many to many -------------------------------------------------------------------------------------------------------


@section("4.1")
def linear_map() -> Numbers:
    A, x = leaf([[1, 2, 3], [4, 5, 6]], [1, 0, -1])
    y = A @ x
    dx, dA = grads(y, [1, 2], [x, A])
    return {"y": y, "dx": dx, "dA": dA, "J": jacrev(lambda v: A @ v)(x)}


@section("4.2")
def two_in_a_row() -> Numbers:
    A, x = leaf([[1, 2], [1, -1]], [3, 1])
    u = A @ x
    du, dx = grads(u**2, [1, -1], [u, x])
    return {"u": u, "du": du, "dx": dx, "J2": jacrev(torch.square)(u), "J": jacrev(lambda v: (A @ v) ** 2)(x)}


@section("4.3")
def softmax() -> Numbers:
    x = constant([1, 2, 5]).log().requires_grad_()
    y = torch.softmax(x, 0)
    (dx,) = grads(y, [8, 0, 0], [x])
    return {"y": y, "dx": dx, "J": jacrev(lambda v: torch.softmax(v, 0))(x)}


@section("4.4")
def cross_entropy() -> Numbers:
    x = constant([1, 2, 5]).log().requires_grad_()
    loss = nn.functional.cross_entropy(x, torch.tensor(1))
    (dx,) = grads(loss, 1, [x])
    return {"loss": loss, "dx": dx}


@section("4.5")
def convolution() -> Numbers:
    x, w = leaf([[[1, 2, 3, 4]]], [[[1, 10]]])
    y = nn.functional.conv1d(x, w)
    dx, dw = grads(y, [[[1, 0, -1]]], [x, w])
    J = jacrev(lambda v: nn.functional.conv1d(v, w))(x)
    return {"y": y[0, 0], "dx": dx[0, 0], "dw": dw[0, 0], "J": J[0, 0, :, 0, 0]}


# 5 Matrices -----------------------------------------------------------------------------------------------------------


@section("5.1")
def matrix_product() -> Numbers:
    A, B = leaf([[1, 2], [3, 4]], [[1, 2], [0, 1]])
    Y = A @ B
    dA, dB = grads(Y, [[1, 0], [2, -1]], [A, B])
    return {"Y": Y, "dA": dA, "dB": dB}


@section("5.2")
def product_by_elements() -> Numbers:
    A, B, b = leaf([[1, 2], [3, 4]], [[5, 6], [7, 8]], [0, 1])
    dA, dB, db = grads(A * B + b, [[1, 0], [2, -1]], [A, B, b])
    return {"dA": dA, "dB": dB, "db": db}


@section("5.3")
def layer_of_neurons() -> Numbers:
    X, W, b = leaf([[1, 2], [3, 0]], [[2, -1]], [1])
    Y = nn.functional.linear(X, W, b)
    dX, dW, db = grads(Y, [[1], [-2]], [X, W, b])
    return {"Y": Y, "dX": dX, "dW": dW, "db": db}


@section("5.4")
def quadratic_form() -> Numbers:
    A, x = leaf([[1, 2], [0, 3]], [1, 2])
    y = x @ A @ x
    dx, dA = grads(y, 1, [x, A])
    return {"y": y, "dx": dx, "dA": dA}


@section("5.5")
def inverse_and_determinant() -> Numbers:
    A = leaf([[2, 4], [1, 3]])
    Y, v = torch.linalg.inv(A), torch.linalg.det(A)
    (by_Y,), (by_v,) = grads(Y, [[1, 2], [3, 4]], [A]), grads(v, 10, [A])
    return {"Y": Y, "v": v, "dA_by_Y": by_Y, "dA_by_v": by_v}


@section("5.6")
def system_of_equations() -> Numbers:
    A, b = leaf([[1, 2], [1, 3]], [[5], [7]])
    x = torch.linalg.solve(A, b)
    db, dA = grads(x, [[2], [3]], [b, A])
    return {"x": x, "db": db, "dA": dA}


# 6 A function of one's own --------------------------------------------------------------------------------------------


@section("6.1")
def two_outputs() -> Numbers:
    a, b = leaf([3], [4])
    r, phi = torch.hypot(a, b), torch.atan2(b, a)
    found = {"r": r, "phi": phi}
    starts = {"": ([r, phi], [[10], [50]]), "_by_r": (r, [10]), "_by_phi": (phi, [50])}
    for name, (tops, dy) in starts.items():
        found[f"da{name}"], found[f"db{name}"] = grads(tops, dy, [a, b])
    return found


# 7 Forward and reverse ------------------------------------------------------------------------------------------------


def inner(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """p and q of the chapter's net."""
    return a * b, a**2


def outer(p: Tensor, q: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """y and z of it."""
    return p + q, p - b


def both(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return outer(*inner(a, b), b)


def moved(a: float, b: float) -> list[Tensor]:
    """The changes of y and z for changes of a and b."""
    return list(jvp(both, (constant(2), constant(3)), (constant(a), constant(b)))[1])


@section("7.1")
def forward() -> Numbers:
    return {"along_a": moved(1, 0), "along_b": moved(0, 1)}


@section("7.2")
def reverse() -> Numbers:
    a, b = leaf(2, 3)
    p, q = inner(a, b)
    tops, of = outer(p, q, b), [p, q, a, b]
    return {"from_y": grads(tops, [1, 0], of), "from_z": grads(tops, [0, 1], of)}


@section("7.4")
def agreement() -> Numbers:
    a, b = leaf(2, 3)
    y, z = moved(5, -1)
    da, db = grads(both(a, b), [2, 3], [a, b])
    return {"outputs": 2 * y + 3 * z, "inputs": 5 * da - db}


@section("7.5")
def accumulation() -> Numbers:
    a, b = leaf(2, 3)
    y, z = both(a, b)
    y.backward(constant(2), retain_graph=True)
    first = [a.grad.clone(), b.grad.clone()]
    z.backward(constant(3))
    return {"from_y": first, "both": [a.grad, b.grad]}


# 8 Jacobians ----------------------------------------------------------------------------------------------------------


@section("8.1")
def jacobian_of_a_blob() -> Numbers:
    x, W, dy = leaf([[1, 2], [4, 6]]), constant([[3, 5]]), constant([[10], [1]])
    y, J = nn.functional.linear(x, W), jacrev(lambda v: nn.functional.linear(v, W))(x)
    (dx,) = grads(y, dy, [x])
    return {"J": J[:, 0], "product": torch.tensordot(dy, J, 2), "dx": dx}


@section("8.2")
def jacobian_of_a_parameter() -> Numbers:
    x, W, b = constant([[1, 2]]), constant([[3, 5], [7, 9]]), constant([0, 0])
    by_weight, by_bias = jacrev(lambda w, c: nn.functional.linear(x, w, c), argnums=(0, 1))(W, b)
    _, change = jvp(lambda w: nn.functional.linear(x, w, b), (W,), (constant([[1, 1], [0, -1]]),))
    return {"J": by_weight[0], "J_bias": by_bias[0], "moved": change}


@section("8.3")
def second_derivatives() -> Numbers:
    X, t, w = constant([[1, 0], [1, 1], [1, 2], [1, 3]]), constant([1, 1, 4, 0]), leaf([1, 1])

    def loss(weight: Tensor) -> Tensor:
        return nn.functional.mse_loss(X @ weight, t)

    (g,) = grads(loss(w), 1, [w])
    return {"loss": loss(w), "g": g, "Hv": hvp(loss, w, constant([1, -1]))[1], "H": hessian(loss, w)}


# 9 Sparse -------------------------------------------------------------------------------------------------------------


@section("9.1")
def sparse_factor() -> Numbers:
    A = constant([[0, 2, 0, 0], [1, 0, 0, 3]]).to_sparse().requires_grad_()
    B = leaf([[1, 2], [3, 4], [5, 6], [7, 8]])
    Y = torch.sparse.mm(A, B)
    dA, dB = grads(Y, [[1, -1], [2, 0]], [A, B])
    return {"Y": Y, "dB": dB, "dA": dA.to_dense(), "stored": dA.coalesce().values()}


@section("9.2")
def bag_of_words() -> Numbers:
    X, W, b = constant([[0, 2, 1, 0, 0], [0, 3, 0, 0, 0]]).to_sparse(), leaf([[10, 20, 30, 40, 50]]), leaf([0])
    Y = torch.sparse.mm(X, W.t()) + b
    (dW,) = grads(Y, [[1], [10]], [W])
    return {"Y": Y, "dW": dW}


@section("9.3")
def embedding() -> Numbers:
    W = leaf([[1, 2], [3, 4], [5, 6], [7, 8]])
    y = nn.functional.embedding(torch.tensor([2, 0, 2]), W, sparse=True)
    (dW,) = grads(y, [[1, 2], [3, 4], [5, 6]], [W])
    return {"y": y, "dW": dW.to_dense()}


def plain(value: Any) -> Any:
    """Numbers and lists of numbers."""
    return [plain(each) for each in value] if isinstance(value, list) else value.detach().tolist()


def in_lines(head: Mapping[str, str], found: Mapping[str, Numbers]) -> str:
    """JSON with a line for each name."""
    sections = [f'"{number}": {{\n{entries(named)}}}' for number, named in found.items()]
    return "{\n" + entries(head) + ',\n"numbers": {\n' + ",\n".join(sections) + "}}\n"


def entries(named: Numbers) -> str:
    """The entries of a mapping in JSON, each in its line."""
    return ",\n".join(f" {json.dumps(name)}: {json.dumps(value)}" for name, value in named.items())


def main() -> None:
    if not torch.__version__.startswith(TORCH):
        sys.exit(f"error: the numbers of the textbook are torch {TORCH}'s, this is torch {torch.__version__}")
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    found = {number: {name: plain(value) for name, value in f().items()} for number, f in SECTIONS.items()}
    head = {"made by": "scripts/textbook_torch.py", "torch": torch.__version__}
    RECORD.write_text(in_lines(head, found), encoding="utf-8", newline="\n")
    print(f"{RECORD.name}: {sum(map(len, found.values()))} numbers and arrays of {len(found)} sections")


if __name__ == "__main__":
    main()
