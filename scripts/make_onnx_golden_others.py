"""Make the files of tests/interop/onnx/golden that Keras and scikit-learn write.

    python scripts/make_onnx_golden_others.py keras [NAME ...]   needs keras 3, tensorflow and tf2onnx
    python scripts/make_onnx_golden_others.py sklearn            needs scikit-learn and skl2onnx

With names only those are made: exporters number what they write, so all of it is other text each time.

NAME.onnx is the model, and NAME.npz what the library itself computes: of Keras in the form that make_onnx_golden.py
says, of scikit-learn as `input` and `output` alone.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent.parent / "tests" / "interop" / "onnx" / "golden"


def keras_nets(keras: Any) -> dict[str, Any]:
    """Nets of Keras's layers by name."""
    layers = keras.layers
    mlp = [(6,), layers.Dense(8, activation="relu"), layers.Dropout(0.3), layers.Dense(5, activation="silu")]
    cnn = [(10, 10, 2), layers.Conv2D(4, 3, padding="same", activation="relu"), layers.MaxPooling2D()]
    cnn += [layers.DepthwiseConv2D(3), layers.Conv2D(5, 1, activation="tanh"), layers.AveragePooling2D(3, strides=1)]
    lstm = [(5, 3), layers.Bidirectional(layers.LSTM(4, return_sequences=True)), layers.LSTM(5)]
    gru = [(5, 3), layers.GRU(4, return_sequences=True), layers.Dropout(0.3), layers.GRU(5)]
    gated = layers.GRU(3, dropout=0.2, return_sequences=True, name="gru")
    cho = [(3, 2), layers.GRU(3, reset_after=False, return_sequences=True), layers.GRU(2, activation="relu")]
    chosen = {
        "keras_mlp": [*mlp, layers.Dense(3, activation="softmax")],
        "keras_cnn": [*cnn, layers.Flatten(), layers.Dense(3)],
        "keras_lstm": [*lstm, layers.Dense(2)],
        "keras_bilstm": [(4, 3), layers.Bidirectional(layers.LSTM(3)), layers.Dense(2)],
        "keras_gru": [*gru, layers.Dense(2)],
        "keras_bigru": [(4, 3), layers.Bidirectional(gated, name="both"), layers.Dense(2)],
        "keras_rnn": [(4, 3), layers.Bidirectional(layers.SimpleRNN(3, name="rnn"), name="both"), layers.Dense(2)],
        "keras_cho": cho,
        "keras_norm": [(5, 3), layers.Dense(4), layers.LayerNormalization(), layers.Dense(2)],
    }
    for part in chosen["keras_norm"][1:2]:
        part.activation = lambda x: keras.activations.gelu(x, approximate=True)
    nets = {name: keras.Sequential([layers.Input(shape), *rest], name="net") for name, (shape, *rest) in chosen.items()}
    x = layers.Input((5, 8))
    y = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4)(x, x))
    return nets | {"keras_attention": keras.Model(x, layers.Dense(2)(y))}


def draw(net: Any, rng: np.random.Generator) -> None:
    """Weights of which no two are alike."""
    count = sum(int(np.prod(w.shape)) for w in net.weights)
    values = rng.permutation(np.linspace(-1, 1, count + 2)[1:-1])
    for weight in net.weights:
        size = int(np.prod(weight.shape))
        weight.assign(values[:size].reshape(weight.shape).astype(np.float32))
        values = values[size:]


def make_keras(*names: str) -> None:
    """Models and their gradients by TensorFlow; all of them without names."""
    os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
    import keras
    import tensorflow as tf

    nets = keras_nets(keras)
    for name, net in ((name, nets[name]) for name in names or nets):
        rng = np.random.default_rng(sum(name.encode()))
        draw(net, rng)
        x = tf.constant(rng.standard_normal((3, *net.input_shape[1:])).astype(np.float32))
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = net(x, training=False)
        dy = rng.standard_normal(y.shape).astype(np.float32)
        weights = net.trainable_weights
        dx, *grads = tape.gradient(y, [x, *weights], output_gradients=tf.constant(dy))
        found = {"input": x.numpy(), "output.0": y.numpy(), "cotangent.0": dy, "grad": dx.numpy()}
        for weight, grad in zip(weights, grads, strict=True):
            found |= {f"param.{weight.path}": weight.numpy(), f"grad.{weight.path}": np.asarray(grad)}
        net.export(FOLDER / f"{name}.onnx", format="onnx", verbose=False)
        found["trained.0"] = trained(tf, net, x, dy)
        np.savez_compressed(FOLDER / f"{name}.npz", **found)


def trained(tf: Any, net: Any, x: Any, dy: np.ndarray) -> np.ndarray:
    """What a net computes after three steps down the gradients of its outputs times dy."""
    for _ in range(3):
        with tf.GradientTape() as tape:
            y = net(x, training=False)
        grads = tape.gradient(y, net.trainable_weights, output_gradients=tf.constant(dy))
        for weight, grad in zip(net.trainable_weights, grads, strict=True):
            weight.assign_sub(0.01 * tf.convert_to_tensor(grad))
    return np.asarray(net(x, training=False))


def make_sklearn() -> None:
    """Classifiers and a regressor with the scaling of their inputs, and what they answer."""
    from skl2onnx import to_onnx
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = load_iris(return_X_y=True)
    x = x.astype(np.float32)
    chosen = {
        "sklearn_mlp": MLPClassifier(hidden_layer_sizes=(8,), max_iter=300, random_state=1),
        "sklearn_logistic": LogisticRegression(max_iter=300),
        "sklearn_regressor": MLPRegressor(hidden_layer_sizes=(6,), activation="tanh", max_iter=300, random_state=1),
    }
    for name, estimator in chosen.items():
        model = make_pipeline(StandardScaler(), estimator).fit(x, y)
        classifier = hasattr(model, "predict_proba")
        options = {id(estimator): {"zipmap": False}} if classifier else None
        (FOLDER / f"{name}.onnx").write_bytes(
            to_onnx(model, x[:1], options=options, target_opset=17).SerializeToString()
        )
        some = x[::10]
        answers = model.predict_proba(some) if classifier else model.predict(some).reshape(-1, 1)
        np.savez_compressed(FOLDER / f"{name}.npz", input=some, output=answers.astype(np.float32))


if __name__ == "__main__":
    made = {"keras": make_keras, "sklearn": make_sklearn}
    which, *names = sys.argv[1:] or [""]
    if which not in made or (names and which != "keras"):
        sys.exit(f"error: say one of {', '.join(made)}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    made[which](*names)
