"""Run as a program in a process of its own: what OpenCV makes of a net of Caffe. It imports nothing of the framework.

    PROTOTXT CAFFEMODEL INPUTS.npz OUTPUTS.npz

INPUTS.npz has an array for each input of the net. OUTPUTS.npz gets `<number>/<top>` for every top of a layer, and
`names`, the layers' names by number. Nothing is fused and no fast convolution is taken, so that each layer is computed
by itself. What OpenCV refuses goes to stderr, with exit code 3; 4 is that there is no OpenCV that reads Caffe's files.
A crash ends this process only.
"""

from __future__ import annotations

import re
import sys
from typing import Any

REFUSED, NO_OPENCV = 3, 4  # exit codes


def main(definition: str, weights: str, inputs: str, outputs: str) -> int:
    """Run the net and write what its layers make."""
    try:
        import cv2

        read = cv2.dnn.readNetFromCaffe
    except (ImportError, AttributeError) as problem:
        print(" ".join(str(problem).split()), file=sys.stderr)
        return NO_OPENCV
    import numpy as np

    try:
        net = read(definition, weights)
        net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
        net.setPreferableTarget(cv2.dnn.DNN_TARGET_CPU)
        net.enableFusion(False)
        net.enableWinograd(False)
        with np.load(inputs) as given:
            for name in given.files:
                net.setInput(given[name], name)
        names = [name for name in net.getLayerNames() if net.getLayer(net.getLayerId(name)).type != "Input"]
        tops = net.forwardAndRetrieve(names)
    except cv2.error as problem:
        print(told(problem.err), file=sys.stderr)
        return REFUSED
    made: dict[str, Any] = {f"{i}/{j}": np.asarray(top) for i, group in enumerate(tops) for j, top in enumerate(group)}
    np.savez(outputs, names=np.array(names), **made)
    return 0


def told(error: str) -> str:
    """What OpenCV refuses, without the places and conditions in its own code."""
    unknown = re.search(r"Can't create layer \"(.*)\" of type \"(.*)\"", error)
    if unknown:
        return f"it has no layer of type {unknown[2]} (layer '{unknown[1]}')"
    sentence = " ".join(error.split())
    plain = re.fullmatch(r"[A-Z][A-Za-z0-9 ,.:'-]*", sentence) and "::" not in sentence
    return sentence if plain else "a check inside of OpenCV fails for one of its layers"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
