"""Record tests/golden/torch: weights of models of torch in torch's own files, and what the models answer.

    python scripts/make_torch_weights.py

needs torch 2.13, torchvision 0.28 and safetensors; the tests need the files only. The models are those of
tests/support/torch_weights.py, with seeded weights; batch normalisations have statistics of a few batches.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.torch_weights import ANSWERS, ENCODER, GOLDEN, LAYERS, MODELS, NARROW, RESNET, TAGGER, Model

RECURRENT: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "batch_first": True}
MADE: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(5, 3),
    "bilinear": lambda: nn.Bilinear(5, 2, 3),
    "conv1d": lambda: nn.Conv1d(4, 6, 3, groups=2, padding=1),
    "conv2d": lambda: nn.Conv2d(3, 4, (3, 2), stride=2, dilation=(1, 2)),
    "conv3d": lambda: nn.Conv3d(2, 3, (1, 2, 3)),
    "conv_transpose1d": lambda: nn.ConvTranspose1d(4, 6, 3, groups=2),
    "conv_transpose2d": lambda: nn.ConvTranspose2d(3, 2, (3, 2), stride=2),
    "conv_transpose3d": lambda: nn.ConvTranspose3d(2, 3, 2),
    "batch_norm1d": lambda: nn.BatchNorm1d(3),
    "batch_norm2d": lambda: nn.BatchNorm2d(3),
    "batch_norm3d": lambda: nn.BatchNorm3d(3),
    "batch_norm_of_sums": lambda: nn.BatchNorm2d(3),
    "batch_norm_of_all": lambda: nn.BatchNorm2d(3, momentum=None),
    "layer_norm": lambda: nn.LayerNorm(5),
    "rms_norm": lambda: nn.RMSNorm(5, eps=1e-6),
    "group_norm": lambda: nn.GroupNorm(3, 6),
    "instance_norm": lambda: nn.InstanceNorm2d(3, affine=True),
    "embedding": lambda: nn.Embedding(7, 3),
    "prelu": lambda: nn.PReLU(3),
    "rnn": lambda: nn.RNN(4, 3, **RECURRENT),
    "lstm": lambda: nn.LSTM(4, 3, **RECURRENT),
    "gru": lambda: nn.GRU(4, 3, **RECURRENT),
    "lstm_of_one_bias": lambda: nn.LSTM(4, 3, **RECURRENT),
    "multihead_attention": lambda: nn.MultiheadAttention(6, 2, batch_first=True),
}


class Single(nn.Module):
    """A module under the name `layer`."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.layer = module

    def forward(self, *inputs: Tensor) -> Tensor:
        if isinstance(self.layer, nn.MultiheadAttention):
            return self.layer(*inputs * 3, need_weights=False)[0]
        y = self.layer(*inputs)
        return y[0] if isinstance(y, tuple) else y


class Tagger(nn.Module):
    """A label for each word of a sentence."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 5)
        self.lstm = nn.LSTM(5, 3, **RECURRENT)
        self.fc = nn.Linear(6, 4)

    def forward(self, words: Tensor) -> Tensor:
        return self.fc(self.lstm(self.embed(words))[0])


def encoder() -> nn.Module:
    """One layer of torch's transformer."""
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
    return nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)


def resnet() -> nn.Module:
    """torchvision's ResNet-18, every module with a share of its channels."""
    model = torchvision.models.resnet18(num_classes=10)
    for name, module in list(model.named_modules()):
        owner = model.get_submodule(name.rpartition(".")[0])
        if isinstance(module, nn.Conv2d):
            channels = 3 if module.in_channels == 3 else module.in_channels // NARROW
            how = {"stride": module.stride, "padding": module.padding, "bias": False}
            narrow = nn.Conv2d(channels, module.out_channels // NARROW, module.kernel_size, **how)
            setattr(owner, name.rpartition(".")[2], narrow)
        elif isinstance(module, nn.BatchNorm2d):
            setattr(owner, name.rpartition(".")[2], nn.BatchNorm2d(module.num_features // NARROW))
    model.fc = nn.Linear(512 // NARROW, 10)
    return model


def module_of(model: Model) -> nn.Module:
    """The model in torch, in eval, with seeded weights."""
    torch.manual_seed(sum(map(ord, model.name)))
    module = {TAGGER.name: Tagger, ENCODER.name: encoder, RESNET.name: resnet}.get(model.name)
    made = Single(MADE[model.name]()) if module is None else module()
    inputs = tensors(model)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim == 1:  # ones and zeros would hide a mistake
                parameter.add_(torch.randn_like(parameter) * 0.2)
        for _ in range(3):  # statistics of batches
            made.train()(*[x if model.words else x * 2 + 1 for x in inputs])
    return made.eval()


def tensors(model: Model) -> list[Tensor]:
    """The inputs."""
    return [torch.from_numpy(array) for array in model.drawn().values()]


def main() -> None:
    """Record everything."""
    assert {model.name for model in LAYERS} == MADE.keys()
    GOLDEN.mkdir(exist_ok=True)
    answers = {}
    for model in MODELS:
        module = module_of(model)
        if model is TAGGER:
            module = module.to(torch.bfloat16)
        state = module.state_dict()
        if model.file:
            safetensors.torch.save_file(state, GOLDEN / model.file)
        else:
            answers |= {f"{model.name}/{name}": tensor.numpy() for name, tensor in state.items()}
        with torch.no_grad():
            answers[f"{model.name}/y"] = module.float()(*tensors(model)).numpy()
    np.savez_compressed(ANSWERS, **answers)
    for path in sorted(GOLDEN.iterdir()):
        print(f"{path.name} {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
