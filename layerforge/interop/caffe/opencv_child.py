"""Run as a program in a process of its own: what OpenCV makes of a net of Caffe. It imports nothing of the framework.

    PROTOTXT CAFFEMODEL INPUTS.npz OUTPUTS.npz

INPUTS.npz has an array for each input of the net. OUTPUTS.npz gets `<number>/<top>` for every top of a layer, and
`names`, the layers' names by number. Nothing is fused and no fast convolution is taken, so that each layer is computed
by itself. What OpenCV refuses goes to stderr, with exit code 3; a crash ends this process only.
"""

from __future__ import annotations

import sys


def main(definition: str, weights: str, inputs: str, outputs: str) -> int:
    """Run the net and write what its layers make."""
    import cv2
    import numpy as np

    try:
        net = cv2.dnn.readNetFromCaffe(definition, weights)
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
        print(" ".join(str(problem).split()), file=sys.stderr)
        return 3
    made = {f"{i}/{j}": np.asarray(top) for i, group in enumerate(tops) for j, top in enumerate(group)}
    np.savez(outputs, names=np.array(names), **made)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
