"""The words of other frameworks, and what they are called here: the source of every "did you mean".

A synonym is never accepted silently: two names for one thing make files that half of the readers cannot search.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

LAYER_SYNONYMS = {
    "InnerProduct": ("Linear", "Caffe"),
    "Dense": ("Linear", "Keras"),
    "FullyConnected": ("Linear", ""),
    "Convolution": ("Conv2d", "Caffe"),
    "Convolution2D": ("Conv2d", "Chainer"),
    "Conv2D": ("Conv2d", "Keras"),
    "Deconvolution": ("ConvTranspose2d", "Caffe"),
    "Conv1DTranspose": ("ConvTranspose1d", "Keras"),
    "Conv2DTranspose": ("ConvTranspose2d", "Keras"),
    "Conv3DTranspose": ("ConvTranspose3d", "Keras"),
    "DepthwiseConv2D": ("Conv2d", "Keras; with groups equal to the channels"),
    "Pooling": ("MaxPool2d", "Caffe"),
    "MaxPooling2D": ("MaxPool2d", "Keras"),
    "AveragePooling2D": ("AvgPool2d", "Keras"),
    "GlobalAveragePooling2D": ("GlobalAvgPool2d", "Keras"),
    "AdaptiveAveragePooling2D": ("AdaptiveAvgPool2d", "Keras"),
    "AdaptiveMaxPooling2D": ("AdaptiveMaxPool2d", "Keras"),
    "SPP": ("SpatialPyramidPool", "Caffe"),
    "Im2col": ("Unfold", "Caffe"),
    "UpSampling2D": ("Upsample", "Keras"),
    "grid_sample": ("GridSample", "torch"),
    "BatchNorm1d": ("BatchNorm", "torch"),
    "BatchNorm2d": ("BatchNorm", "torch"),
    "BatchNorm3d": ("BatchNorm", "torch"),
    "BatchNormalization": ("BatchNorm", "Keras"),
    "LayerNormalization": ("LayerNorm", "Keras"),
    "GroupNormalization": ("GroupNorm", "Keras"),
    "RMSNormalization": ("RMSNorm", "Keras"),
    "InstanceNorm1d": ("InstanceNorm", "torch"),
    "InstanceNorm2d": ("InstanceNorm", "torch"),
    "InstanceNorm3d": ("InstanceNorm", "torch"),
    "LRN": ("LocalResponseNorm", "Caffe"),
    "TanH": ("Tanh", "Caffe"),
    "AbsVal": ("Abs", "Caffe"),
    "Power": ("Pow", "Caffe"),
    "BNLL": ("Softplus", "Caffe"),
    "Swish": ("SiLU", "Caffe"),
    "Clip": ("Clamp", "Caffe"),
    "SoftmaxWithLoss": ("SoftmaxCrossEntropy", "Caffe"),
    "CrossEntropyLoss": ("SoftmaxCrossEntropy", "torch"),
    "SparseCategoricalCrossentropy": ("SoftmaxCrossEntropy", "Keras"),
    "CategoricalFocalCrossentropy": ("FocalLoss", "Keras"),
    "BinaryFocalCrossentropy": ("SigmoidFocalLoss", "Keras"),
    "SigmoidCrossEntropyLoss": ("BCEWithLogitsLoss", "Caffe; with normalization batch_size"),
    "MeanSquaredError": ("MSELoss", "Keras"),
    "MeanAbsoluteError": ("MAE", "Keras"),
    "MeanAbsolutePercentageError": ("MAPE", "Keras"),
    "RootMeanSquaredError": ("RMSE", "Keras"),
    "R2Score": ("R2", "Keras"),
    "BinaryAccuracy": ("Accuracy", "Keras; with a threshold"),
    "AUC": ("AUROC", "Keras"),
    "F1Score": ("F1", "Keras"),
    "MeanIoU": ("IoU", "Keras"),
    "JaccardIndex": ("IoU", "torchmetrics"),
    "DiceScore": ("Dice", "torchmetrics"),
    "MatthewsCorrCoef": ("MatthewsCorrelation", "torchmetrics"),
    "Eltwise": ("Add", "Caffe; or Mul, or Maximum"),
    "Reduction": ("Sum", "Caffe; or Mean, SumSquare, AbsSum"),
    "Multiply": ("Mul", "Keras"),
    "Concatenate": ("Concat", "Keras"),
    "Embed": ("Embedding", "Caffe"),
    "SimpleRNN": ("RNN", "Keras"),
    "Attention": ("ScaledDotProductAttention", "Keras"),
    "PositionalEncoding": ("PositionalEmbedding", ""),
    "View": ("Reshape", "torch"),
    "Bmm": ("Matmul", "torch"),
    "Dot": ("Matmul", "Keras"),
    "InputLayer": ("Input", "Keras"),
    "Placeholder": ("Input", "TensorFlow"),
    "MemoryData": ("Input", "Caffe"),
    "DummyData": ("Constant", "Caffe; or Random"),
    "GaussianNoise": ("Random", "Keras; with `distribution: normal`, and Add"),
    "StopGradient": ("Detach", "Keras"),
    "BlockGrad": ("Detach", "MXNet"),
    "SpatialDropout1D": ("Dropout2d", "Keras"),
    "SpatialDropout2D": ("Dropout2d", "Keras"),
    "SpatialDropout3D": ("Dropout2d", "Keras"),
}

KEY_SYNONYMS = {
    "num_output": ("out_features", "out_channels", "embedding_dim", "hidden_size"),
    "input_dim": ("num_embeddings",),
    "output_dim": ("embedding_dim",),
    "tiles": ("dims",),
    "units": ("out_features", "hidden_size"),
    "filters": ("out_channels",),
    "in_features": (),
    "in_channels": (),
    "pad": ("padding",),
    "group": ("groups",),
    "strides": ("stride",),
    "kernel": ("kernel_size",),
    "pool_size": ("kernel_size",),
    "bias_term": ("bias",),
    "use_bias": ("bias",),
    "kernel_initializer": ("weight_filler",),
    "dropout_ratio": ("p",),
    "rate": ("p",),
    "alpha": ("negative_slope", "rms_decay"),
    "rho": ("momentum", "rms_decay"),
    "betas": ("momentum",),
    "beta1": ("momentum",),
    "beta2": ("momentum2",),
    "delta": ("eps",),
    "epsilon": ("eps",),
    "power": ("exponent",),
    "channel_shared": ("num_parameters",),
    "ignore_label": ("ignore_index",),
    "axis": ("dim", "dims"),
    "axes": ("dims", "dim"),
    "slice_point": ("points",),
    "unbiased": ("correction",),
    "ddof": ("correction",),
    "ord": ("p",),
    "num_features": (),
    "use_global_stats": ("use_running_stats",),
    "filler": ("weight_filler", "bias_filler"),
    "weight_filler": ("filler",),
    "initializer": ("filler", "weight_filler"),
    "fill_value": ("value",),
    "dtype": ("role",),
    "stddev": ("std",),
    "local_size": ("size",),
    "inputs": ("bottom",),
    "input": ("bottom",),
    "outputs": ("top",),
    "output": ("top",),
    "bottoms": ("bottom",),
    "tops": ("top",),
    "include": ("phase",),
    "trainable": ("freeze",),
    "param": ("lr_mult",),
    "base_lr": ("lr",),
    "learning_rate": ("lr",),
    "lr_policy": ("schedule", "type"),
    "lr_scheduler": ("schedule",),
    "stepsize": ("step_size",),
    "stepvalue": ("milestones",),
    "regularization_type": ("regularization",),
    "clip_gradients": ("clip_grad_norm",),
    "gradient_clip_val": ("clip_grad_norm",),
    "max_grad_norm": ("clip_grad_norm",),
    "clipnorm": ("clip_grad_norm",),
    "clipvalue": ("clip_grad_value",),
    "nesterov": ("type",),
    "iter_size": ("accumulate_grad_batches",),
    "gradient_accumulation_steps": ("accumulate_grad_batches",),
    "max_iter": ("max_steps",),
    "max_epochs": ("epochs",),
    "num_epochs": ("epochs",),
    "test_interval": ("eval_every",),
    "val_check_interval": ("eval_every",),
    "display": ("log_every",),
    "log_every_n_steps": ("log_every",),
    "track_grad_norm": ("log_layers",),
    "early_stop": ("early_stopping",),
    "EarlyStopping": ("early_stopping",),
    "early_stopping_patience": ("early_stopping",),
    "metric_for_best_model": ("monitor",),
    "threshold": ("min_delta",),
    "early_stopping_threshold": ("min_delta",),
    "ema": ("ema_decay",),
    "use_ema": ("ema_decay",),
    "ema_momentum": ("ema_decay",),
    "model_ema_decay": ("ema_decay",),
    "swa": ("ema_decay",),
    "terminate_on_nan": ("on_nonfinite",),
    "TerminateOnNaN": ("on_nonfinite",),
    "on_nan": ("on_nonfinite",),
    "detect_anomaly": ("on_nonfinite",),
    "overfit": ("overfit_batches",),
    "limit_train_batches": ("overfit_batches",),
    "fast_dev_run": ("max_steps",),
    "hooks": ("import",),
    "callbacks": ("import",),
    "snapshot": ("every",),
    "save_top_k": ("keep_last",),
    "batchsize": ("batch_size",),
    "optimizer": ("solver",),
    "layers": ("net",),
    "layer": ("net",),
    "model": ("net",),
    "random_seed": ("seed",),
    "device": ("backend",),
    "_base_": ("extends",),
    "_BASE_": ("extends",),
    "defaults": ("extends",),
    "trainer": ("train",),
    "imports": ("import",),
}


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` most likely meant, or None. Case and one or two slips are forgiven."""
    words = [str(k) for k in known]
    folded = {k.lower().replace("_", ""): k for k in reversed(words)}
    same = folded.get(str(word).lower().replace("_", ""))
    if same is not None:
        return same
    import difflib  # where nothing is misspelt nobody needs it

    close = difflib.get_close_matches(str(word), words, 1, cutoff=0.6)
    return close[0] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint for a mistyped word, or None where nothing comes close."""
    near = nearest(word, known)
    return f"did you mean '{near}'?" if near is not None else None


def hint_for_key(key: str, known: Iterable[str]) -> str:
    """A hint for an unknown key: the word used here for another framework's, the nearest, or the whole list."""
    known = list(known)
    for synonym in KEY_SYNONYMS.get(str(key), ()):
        if synonym in known:
            return f"did you mean '{synonym}'?"
    return did_you_mean(key, known) or (f"known keys: {', '.join(known)}" if known else "no keys are allowed here")


def hint_for_type(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown type name, with the other framework that the name comes from."""
    known = list(known)
    ours, origin = LAYER_SYNONYMS.get(str(name), (None, ""))
    if ours in known:
        return f"did you mean {ours}" + (f" ({origin}'s {name})?" if origin and ";" not in origin else "?") + (
            f" ({origin})" if ";" in origin else ""
        )
    return did_you_mean(name, known) or f"known types: {', '.join(sorted(known))}"


SMALL_IS_GOOD = re.compile(
    r"loss|error|perplexity|distance|divergence|(?<![a-z])(err|mse|rmse|mae|mape|nll|bce|ce|kl|kld|ppl|wer|cer|cost)(?![a-z])"
)


def is_higher_better(metric: str) -> bool:
    """Whether large is good, by the name of a metric: losses and errors fall, everything else rises."""
    return SMALL_IS_GOOD.search(metric.lower()) is None
