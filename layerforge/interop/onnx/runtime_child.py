"""Run as a program in a process of its own: what ONNX Runtime makes of a file. It imports nothing of the framework.

    MODEL INPUTS.npz OUTPUTS.npz

INPUTS.npz has arrays `<case>/<input>`. OUTPUTS.npz gets `<case>/<number of the output>` for each case, or
`<case>/refused`, why ONNX Runtime does not take its inputs; and `names`, those of the outputs. First onnx.checker looks
at the file. What either refuses is a line on stderr, with exit code 3 of the checker, 4 of ONNX Runtime. One thread
computes. A crash ends this process only.
"""

from __future__ import annotations

import sys
from typing import Any

CHECKER, RUNTIME = 3, 4  # exit codes: who refused the file
REFUSED = "refused"


def main(model: str, inputs: str, outputs: str) -> int:
    """Check the file, run it and write what it gives."""
    import numpy as np
    import onnx
    import onnxruntime

    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as problem:  # ValidationError, and errors of shape inference
        print(" ".join(str(problem).split()), file=sys.stderr)
        return CHECKER
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    made: dict[str, Any] = {}
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        made["names"] = np.array([output.name for output in session.get_outputs()])
        with np.load(inputs, allow_pickle=False) as given:
            cases: dict[str, dict[str, Any]] = {}
            for key in given.files:
                case, _, name = key.partition("/")
                cases.setdefault(case, {})[name] = given[key]
    except Exception as problem:  # ONNX Runtime has classes of its own for each kind of failure
        print(" ".join(str(problem).split()), file=sys.stderr)
        return RUNTIME
    for case, arrays in cases.items():
        try:
            found = session.run(None, {name: array for name, array in arrays.items() if name})
        except Exception as problem:
            made[f"{case}/{REFUSED}"] = np.array(" ".join(str(problem).split()))
            continue
        for number, array in enumerate(found):
            if isinstance(array, np.ndarray) and array.dtype.kind in "biuf":
                made[f"{case}/{number}"] = array
    np.savez(outputs, **made)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
