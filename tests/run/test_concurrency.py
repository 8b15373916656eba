"""Threads and forks: nets of their own run side by side, one net is refused to two threads, a fork is told what to do.

What would crash or hang if it failed runs in processes of its own.
"""

from __future__ import annotations

import copy
import os
import pickle
import re
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from layerforge import Layer, Net, Solver, Spec, register
from layerforge.arrays import threads
from layerforge.schema.errors import ConcurrencyError
from layerforge.schema.registry import LAYERS

ENTERED, LEAVE = threading.Event(), threading.Event()
SEEN: list[Any] = []  # the filters of warnings at each forward of a Gate


class Gate(Layer):
    """y = x, once the test says so."""

    examples = ()  # type: ignore[assignment]

    def setup(self, x: Spec) -> Spec:
        return x

    def forward(self, x: Any) -> Any:
        SEEN.append(list(warnings.filters))
        self.wait("forward")
        return x.copy()

    def backward(self, dy: Any) -> Any:
        self.wait("backward")
        return dy.copy()

    closed = ""

    def wait(self, doing: str) -> None:
        if self.closed == doing:
            ENTERED.set()
            assert LEAVE.wait(20)


@pytest.fixture(autouse=True)
def gate() -> Iterator[None]:
    ENTERED.clear()
    LEAVE.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        register(Gate)
    yield
    LAYERS.remove("Gate")


ROWS = {"x": {"shape": [4, 6], "grad": True}, "t": {"shape": [4], "dtype": "int64"}}
GATED = [
    {"name": "a", "type": "Linear", "out_features": 5},
    {"name": "gate", "type": "Gate"},
    {"name": "b", "type": "Linear", "out_features": 3},
    {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["b", "t"]},
]


def gated(keep: str = "all") -> Net:
    return Net.from_config({"name": "doors", "seed": 1, "inputs": ROWS, "net": GATED}, keep=keep)


def batch(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=(4, 6)).astype("float32"), "t": rng.integers(0, 3, 4)}


def in_thread(work: Callable[[], Any]) -> Any:
    """What `work` returns, or raises, in another thread."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run, name="other")
    thread.start()
    thread.join()
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


# Different nets -------------------------------------------------------------------------------------------------------

SIDE_BY_SIDE = """
    import sys, threading
    import numpy as np
    from layerforge import Net, Solver
    sys.setswitchinterval(1e-5)
    LOSS = {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["scores", "t"]}
    SCORES = [{"name": "flat", "type": "Flatten"}, {"name": "scores", "type": "Linear", "out_features": 3}, LOSS]
    KINDS = [
        ([5, 6], [{"name": "a", "type": "Linear", "out_features": 9}, {"name": "r", "type": "ReLU"}]),
        ([5, 3, 6, 6], [{"name": "a", "type": "Conv2d", "out_channels": 4, "kernel_size": 3},
                        {"name": "n", "type": "BatchNorm"}, {"name": "r", "type": "ReLU"},
                        {"name": "d", "type": "Dropout", "p": 0.5}]),
        ([5, 4, 8], [{"name": "a", "type": "LSTM", "hidden_size": 12}]),
    ]

    def train(seed):
        shape, layers = KINDS[seed % 3]
        rng = np.random.default_rng(seed)
        inputs = {"x": {"shape": shape}, "t": {"shape": [5], "dtype": "int64"}}
        config = {"seed": seed, "inputs": inputs, "net": layers + SCORES}
        net = Net.from_config(config, keep="all" if seed > 2 else "none")
        solver = Solver(net, type="SGD", lr=0.05, momentum=0.9)
        losses = []
        for step in range(20):
            n = 5 if step % 5 else 1 + step // 5
            losses.append(solver.step(x=rng.normal(size=(n, *shape[1:])).astype("float32"), t=rng.integers(0, 3, n)))
        return losses, {path: a.tobytes() for path, a in net.arrays().items()}

    seeds, found, together = range(6), {}, threading.Barrier(6)

    def work(seed):
        together.wait()
        try:
            found[seed] = train(seed)
        except Exception as error:
            found[seed] = repr(error)

    crowd = [threading.Thread(target=work, args=(seed,)) for seed in seeds]
    for thread in crowd: thread.start()
    for thread in crowd: thread.join()
    alone = {seed: train(seed) for seed in seeds}
    wrong = [found[seed] if isinstance(found[seed], str) else seed for seed in seeds if found[seed] != alone[seed]]
    print("wrong:", wrong)
"""

FROM_HAND_TO_HAND = """
    import threading
    import numpy as np
    from layerforge import Net
    x = np.random.default_rng(0).normal(size=(5, 4, 8)).astype("float32")
    layers = [{"name": "y", "type": "LSTM", "hidden_size": 32}]
    net = Net.from_config({"inputs": {"x": {"shape": [5, 4, 8]}}, "net": layers})
    found = []
    def use():
        net.zero_grad()
        y = net.forward(x=x)["y"]
        net.backward(y=x[..., :1] + np.zeros_like(y))
        found.append((y.tobytes(), net.parameters.grad.tobytes()))
    use()
    for _ in range(3):
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
    use()
    print("results:", len(set(found)), "of", len(found))
"""


def script(text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A Python program of its own, which must end in time."""
    env = {**os.environ, "OMP_NUM_THREADS": "2", **environment}
    code = textwrap.dedent(text)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=env)


def test_nets_made_and_trained_in_threads_are_those_trained_alone() -> None:
    """All begin at once in a new process: nothing is imported, no library is loaded when the first net is made."""
    done = script(SIDE_BY_SIDE, OMP_NUM_THREADS="1")
    assert done.stdout == "wrong: []\n", done.stdout + done.stderr


def test_a_net_may_go_from_thread_to_thread() -> None:
    """What a primitive works in belongs to no thread."""
    done = script(FROM_HAND_TO_HAND)
    assert done.stdout == "results: 1 of 5\n", (done.returncode, done.stdout, done.stderr[-500:])


def test_planning_touches_nothing_that_other_threads_see() -> None:
    SEEN.clear()
    gated("none").forward(**batch())
    filters = list(warnings.filters)
    assert [filters, filters] == SEEN


def test_threads_are_a_net_s_own_wherever_it_runs() -> None:
    """A thread of the program knows nothing of what another told OpenMP."""
    before = threads.CURRENT.asked
    try:
        nets = [Net.from_config({"threads": n, "inputs": ROWS, "net": GATED[:1]}) for n in (1, 3)]

        def limit(net: Net) -> set[int]:
            net.forward(x=batch()["x"])
            return {library.omp_get_max_threads() for library in threads.CURRENT.openmp}

        assert [limit(net) for net in nets] == [{1}, {3}]
        assert [in_thread(lambda net=net: limit(net)) for net in nets] == [{1}, {3}]
    finally:
        threads.use(before or 1)
        threads.CURRENT.asked = before


# One net --------------------------------------------------------------------------------------------------------------

USES: dict[str, Callable[[Net, Solver], Any]] = {
    "forward": lambda net, solver: net.forward(**batch()),
    "backward": lambda net, solver: net.backward(),
    "jvp": lambda net, solver: net.jvp(x=batch()["x"]),
    "hvp": lambda net, solver: net.hvp(np.ones(net.parameters.grad.size)),
    "zero_grad": lambda net, solver: net.zero_grad(),
    "load": lambda net, solver: net.load_arrays(net.arrays(), "itself"),
    "step": lambda net, solver: solver.step(**batch()),
    "accumulate": lambda net, solver: solver.accumulate(**batch()),
    "update": lambda net, solver: solver.update(),
    "arrays": lambda net, solver: net.arrays(),
    "save": lambda net, solver: net.save("never_written.h5"),
    "statistics": lambda net, solver: net.snapshot_state(),
    "put back": lambda net, solver: net.restore_state({}),
    "copy": lambda net, solver: copy.copy(net),
    "deepcopy": lambda net, solver: copy.deepcopy(net),
    "pickle": lambda net, solver: pickle.dumps(net),
    "count": lambda net, solver: net.count_losses(**batch()),
    "keep": lambda net, solver: setattr(net, "keep", "none"),
    "data": lambda net, solver: setattr(net.params["a"]["weight"], "data", 0),
    "grad": lambda net, solver: setattr(net.params["a"]["weight"], "grad", 0),
    "frozen": lambda net, solver: setattr(net.params["a"]["weight"], "frozen", True),
    "begin_step": lambda net, solver: solver.begin_step([batch()]),
    "measure": lambda net, solver: solver.measure(),
    "solver's state": lambda net, solver: solver.state(),
    "solver's arrays": lambda net, solver: solver.arrays(),
    "solver's load": lambda net, solver: solver.load_state({}, {}),
    "solver's deepcopy": lambda net, solver: copy.deepcopy(solver),
    "solver's pickle": lambda net, solver: pickle.dumps(solver),
}


@pytest.mark.parametrize("doing", ["forward", "backward", "step"])
def test_one_net_in_two_threads_is_refused_by_name(doing: str) -> None:
    net = gated()
    solver = Solver(net, lr=0.1)
    net.forward(**batch())
    Gate.closed = "forward" if doing == "step" else doing
    thread = threading.Thread(target=USES[doing], args=(net, solver), name="first")
    thread.start()
    try:
        assert ENTERED.wait(20)
        for name, use in USES.items():
            with pytest.raises(ConcurrencyError, match=r"net 'doors' is in use by thread 'first'.*cannot"):
                use(net, solver)
                raise AssertionError(name)
    finally:
        Gate.closed = ""
        LEAVE.set()
        thread.join()
    net.forward(**batch())
    net.backward()  # the first has left: it may be used again


def test_a_forward_between_forward_and_backward_of_another_thread_is_refused() -> None:
    net = gated()
    net.forward(**batch(0))
    in_thread(lambda: net.forward(**batch(1)))
    with pytest.raises(ConcurrencyError, match="'doors' was run forward by thread 'other' between"):
        net.backward()
    net.forward(**batch(0))
    net.backward()


def test_one_thread_after_another_is_not_refused() -> None:
    net, other = gated(), gated()
    for seed in range(3):
        in_thread(lambda seed=seed: net.forward(**batch(seed)))
        net.backward()
        net.forward(phase="eval", **batch(9))
        other.forward(**batch(seed))
        other.backward()
        assert np.array_equal(net.parameters.grad, other.parameters.grad)
        net.forward(**batch(seed))
        in_thread(net.backward)
        other.backward()
        assert np.array_equal(net.parameters.grad, other.parameters.grad)


@pytest.mark.parametrize("both", [True, False], ids=["net and solver", "solver"])
def test_a_solver_and_its_net_are_copied_at_one_moment(both: bool) -> None:
    """A step of another thread between the copying of the one and of the other would leave an update out of one."""
    solver = Solver(gated(), lr=0.1, momentum=0.9)
    solver.step(**batch())
    first, second = (solver.net, solver) if both else (solver, solver.net)
    taken = {id(each): each.__reduce_ex__(4)[2] for each in (first, second)}
    again = copy.deepcopy([solver.net, solver])[1]
    assert np.array_equal(again.step(**batch()), solver.step(**batch()))
    taken[id(second)] = second.__reduce_ex__(4)[2]
    net = Net.__new__(Net)
    net.__setstate__(taken[id(solver.net)])
    with pytest.raises(ConcurrencyError, match="'doors' was used by another thread between the copying"):
        Solver.__new__(Solver).__setstate__({**taken[id(solver)], "net": net})


def test_what_was_copied_in_a_turn_stays_as_it_was() -> None:
    """Whatever another thread does when the turn is over."""
    solver = Solver(gated(), lr=0.1, momentum=0.9)
    solver.step(**batch())
    found = {**solver.net.arrays(), **solver.arrays(), **solver.net.__getstate__()["params"]}
    before = {path: array.copy() for path, array in found.items()}
    solver.step(**batch())
    assert all(np.array_equal(before[path], array) for path, array in found.items())


def test_an_error_ends_the_turn() -> None:
    net = gated()
    with pytest.raises(Exception, match="no input 'y'"):
        net.forward(y=1)
    in_thread(lambda: net.forward(**batch()))


# Forks ----------------------------------------------------------------------------------------------------------------

FORKS = """
    import os, sys
    import numpy as np
    from layerforge import Net
    x = np.ones((64, 100), "float32")

    def make(engine):
        layers = [{"name": "y", "type": "Linear", "out_features": 500}]
        return Net.from_config({"engine": engine, "inputs": {"x": {"shape": [64, 100]}}, "net": layers})

    net, plain = make("auto"), make("reference")

    def in_child(what, do):
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            try:
                do()
                code = 0
            except Exception as error:
                print(error)
                code = getattr(error, "exit_code", 99)
            sys.stdout.flush()
            os._exit(code)
        print(what, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    in_child("before the first use", lambda: net.forward(x=x))
    net.forward(x=x)
    in_child("a net from before", lambda: net.forward(x=x))
    in_child("a new net", lambda: make("auto").forward(x=x))
    in_child("only a plan", lambda: make("onednn").passes.executor_for("train", {"x": x.shape}))
    in_child("reference", lambda: plain.forward(x=x))
    net.forward(x=x)
"""


def test_after_a_fork_the_engine_says_what_to_do() -> None:
    """A fork before the first use works, and so does the reference in any."""
    done = script(FORKS)
    codes = dict(re.findall(r"^(.*) (\d+)$", done.stdout, re.M))
    refused = dict.fromkeys(["a net from before", "a new net", "only a plan"], "5")
    assert codes == {"before the first use": "0", **refused, "reference": "0"}, done.stdout + done.stderr
    assert done.stdout.count('get_context("spawn") or "forkserver"') == 3
