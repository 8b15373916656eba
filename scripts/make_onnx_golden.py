"""Make tests/interop/onnx/golden: what torch.onnx writes for small nets, and what torch says of them.

    python scripts/make_onnx_golden.py [NET ...]

needs torch 2.13, onnx and onnxscript, but not this package. For each net of NETS it writes NET.npz and a model of each
exporter, NET.dynamo.onnx and NET.script.onnx (torch.export, and the older one by tracing). NET.npz holds, in float32,

    input, output.0, output.1 ...             what goes in, and what comes out
    cotangent.0 ...                           a random gradient of each output
    param.NAME, grad.NAME                     parameters by torch's names, and their gradients for these cotangents
    grad                                      the gradient of a real input

All of it is in eval mode. The numbers of all parameters of a net differ, so that a test can tell which number of an
imported net is which of torch's, however its arrays are laid out.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

TORCH = "2.13"
FOLDER = Path(__file__).parent.parent / "tests" / "interop" / "onnx" / "golden"
LIMIT = 1_000_000  # bytes of all files


class MLP(nn.Module):
    """A multilayer perceptron with one of each common activation."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3, self.fc4 = nn.Linear(6, 16), nn.Linear(16, 12), nn.Linear(12, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.fc2(F.relu(self.fc1(x))))
        return F.log_softmax(self.fc4(F.mish(F.hardswish(self.fc3(x)))), dim=1)


class LeNet(nn.Module):
    """LeNet with few features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 5), nn.Conv2d(4, 6, 3)
        self.fc1, self.fc2 = nn.Linear(54, 16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(torch.tanh(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(torch.sigmoid(self.fc1(x.view(-1, 54))))


class BasicBlock(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        projected = stride != 1 or inside != outside
        self.downsample = (
            nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))
            if projected
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.downsample(x))


class ResNet18(nn.Module):
    """ResNet-18 as torchvision has it, with few features."""

    def __init__(self, widths: tuple[int, ...] = (3, 4, 5, 6)) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, widths[0], 7, 2, 3, bias=False), nn.BatchNorm2d(widths[0])
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        before = (widths[0], *widths)
        for i, width in enumerate(widths):
            blocks = BasicBlock(before[i], width, 1 if i == 0 else 2), BasicBlock(width, width, 1)
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(widths[-1], 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def conv_bn(inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    """A convolution with its BatchNorm folded into it, as exporters do in eval mode."""
    conv = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False).eval()
    return fuse_conv_bn_eval(conv, nn.BatchNorm2d(outside).eval()).requires_grad_(True)


class InvertedResidual(nn.Module):
    """A bottleneck of MobileNetV2: wide inside, and thin where the shortcut is."""

    def __init__(self, inside: int, outside: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inside * expansion
        first = [] if expansion == 1 else [conv_bn(inside, wide, 1), nn.ReLU6()]
        middle = [conv_bn(wide, wide, 3, stride, wide), nn.ReLU6()]
        self.conv = nn.Sequential(*first, *middle, conv_bn(wide, outside, 1))
        self.shortcut = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """MobileNetV2 with few features and fewer blocks."""

    def __init__(self) -> None:
        super().__init__()
        settings = [(4, 4, 1, 1), (4, 6, 2, 3), (6, 6, 1, 3), (6, 8, 2, 3)]
        blocks = [InvertedResidual(*setting) for setting in settings]
        self.features = nn.Sequential(conv_bn(3, 4, 3, 2), nn.ReLU6(), *blocks, conv_bn(8, 16, 1), nn.ReLU6())
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(16, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), (1, 1)).flatten(1))


class Words(nn.Module):
    """Two bidirectional LSTMs above an embedding, read at the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 5)
        self.lstm = nn.LSTM(5, 6, num_layers=2, bidirectional=True, batch_first=True)
        self.fc = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.lstm(self.embedding(x))[0][:, -1])


class Series(nn.Module):
    """A recurrent net on sequences with time first: outputs at every step, and the last states."""

    def __init__(self, recurrent: nn.Module) -> None:
        super().__init__()
        self.recurrent, self.fc = recurrent, nn.Linear(6, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y, state = self.recurrent(x)
        return self.fc(y), *(state if isinstance(state, tuple) else (state,))


class Encoder(nn.Module):
    """Two of torch's encoder layers above an embedding: the norms behind the sums, and before them."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.position = nn.Embedding(13, 8), nn.Parameter(torch.zeros(1, 6, 8))
        self.after = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.before = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True, activation="gelu")
        self.norm, self.fc = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x) + self.position
        return self.fc(self.norm(self.before(self.after(x))).mean(dim=1))


class Block(nn.Module):
    """A block of a GPT: causal attention with one projection, and GELU by tanh."""

    def __init__(self, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    def forward(self, x: Tensor) -> Tensor:
        n, steps, width = x.shape
        shape = (n, steps, self.heads, width // self.heads)
        q, k, v = (part.reshape(shape).transpose(1, 2) for part in self.qkv(self.ln1(x)).chunk(3, dim=-1))
        x = x + self.proj(self.attend(q, k, v).transpose(1, 2).reshape(n, steps, width))
        return x + self.fc2(F.gelu(self.fc1(self.ln2(x)), approximate="tanh"))


class PlainBlock(Block):
    """The same block with attention written out, as many nets have it."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        hidden = torch.triu(torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool), diagonal=1)
        return F.softmax(scores.masked_fill(hidden, float("-inf")), dim=-1) @ v


class GPT(nn.Module):
    """A causal language model whose output matrix is the embedding's."""

    def __init__(self, block: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.embedding, self.position = nn.Embedding(13, 8), nn.Embedding(6, 8)
        self.blocks, self.norm = nn.Sequential(block(), block()), nn.LayerNorm(8)
        self.head = nn.Linear(8, 13, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x) + self.position(torch.arange(x.shape[1]))
        return self.head(self.norm(self.blocks(x)))


@dataclass(frozen=True)
class Golden:
    """A net, the shape of its input (of whole numbers below `words`, if given), and how it is exported.

    batch     the axis of the input that has any length
    dynamo    settings of the exporter by torch.export; None: not that one
    script    settings of the older exporter; None: not that one
    """

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    words: int = 0
    batch: int = 0
    dynamo: dict[str, Any] | None = None
    script: dict[str, Any] | None = None


NEW, OLD = {"opset_version": 18}, {"opset_version": 17}
# BatchNorm stays BatchNorm: torch.export without its rewrites, tracing without constants folded
NEW_BN = {"opset_version": 18, "optimize": False}
OLD_BN = {"opset_version": 17, "training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}

NETS = {
    "mlp": Golden(MLP, (3, 6), dynamo=NEW, script=OLD),
    "lenet": Golden(LeNet, (2, 1, 20, 20), dynamo=NEW, script=OLD),
    "resnet18": Golden(ResNet18, (2, 3, 33, 33), dynamo=NEW_BN, script=OLD_BN),
    "mobilenet_v2": Golden(MobileNetV2, (2, 3, 16, 16), dynamo=NEW, script=OLD),
    "lstm": Golden(Words, (3, 5), words=11, dynamo=NEW, script=OLD),
    "lstm_states": Golden(lambda: Series(nn.LSTM(4, 6)), (5, 3, 4), batch=1, dynamo=NEW, script=OLD),
    "gru": Golden(lambda: Series(nn.GRU(4, 6)), (5, 3, 4), batch=1, dynamo=NEW, script=OLD),
    "rnn": Golden(lambda: Series(nn.RNN(4, 6, nonlinearity="relu")), (5, 3, 4), batch=1, dynamo=NEW, script=OLD),
    "encoder": Golden(Encoder, (2, 6), words=13, dynamo=NEW),
    "gpt": Golden(lambda: GPT(Block), (2, 6), words=13, dynamo=NEW, script=OLD),
    "gpt_plain": Golden(lambda: GPT(PlainBlock), (2, 6), words=13, dynamo=NEW, script={"opset_version": 14}),
}


def draw(net: nn.Module, rng: np.random.Generator) -> None:
    """Parameters and statistics around their start values, no two parameters of the net alike."""
    names = [(name, p) for name, p in net.named_parameters()]
    seen: set[float] = set()
    for _, p in names:
        fan = p[0].numel() if p.ndim > 1 else 16
        values = (rng.standard_normal(p.shape) / fan**0.5).astype(np.float32)
        for place in np.ndindex(values.shape):
            while values[place].item() in seen:
                values[place] = np.nextafter(values[place], np.float32(9))
            seen.add(values[place].item())
        p.data.copy_(torch.from_numpy(values))
    for name, buffer in net.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.from_numpy(0.3 * rng.standard_normal(buffer.shape)))
        elif name.endswith("running_var"):
            buffer.copy_(torch.from_numpy(rng.uniform(0.5, 2, buffer.shape)))


def record(net: nn.Module, x: Tensor, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Input, outputs, cotangents, and all gradients."""
    found = {"input": x.detach().numpy()}
    x = x.clone().requires_grad_(x.is_floating_point())
    outputs = net(x)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    cotangents = [torch.from_numpy(rng.standard_normal(y.shape).astype(np.float32)) for y in outputs]
    torch.autograd.backward(outputs, cotangents)
    for i, (y, dy) in enumerate(zip(outputs, cotangents, strict=True)):
        found |= {f"output.{i}": y.detach().numpy(), f"cotangent.{i}": dy.numpy()}
    for name, p in net.named_parameters():
        found |= {f"param.{name}": p.detach().numpy(), f"grad.{name}": p.grad.numpy()}
    if x.grad is not None:
        found["grad"] = x.grad.numpy()
    return found


def export(net: nn.Module, x: Tensor, golden: Golden, dynamo: bool, settings: dict[str, Any], path: Path) -> None:
    """The model without what the exporter tells of its source, which is most of the file."""
    axes: dict[str, Any] = {"dynamic_axes": {"x": {golden.batch: "N"}}}
    if dynamo:
        axes = {"dynamic_shapes": ({golden.batch: torch.export.Dim("N")},), "verbose": False, "external_data": False}
    torch.onnx.export(net, (x,), str(path), input_names=["x"], dynamo=dynamo, **axes, **settings)
    model = onnx.load(path)
    for item in (
        model,
        model.graph,
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
    ):
        del item.metadata_props[:]
        item.ClearField("doc_string")
    onnx.save(model, path)


def write(name: str, golden: Golden) -> None:
    """The files of one net."""
    rng = np.random.default_rng(sum(name.encode()))
    net = golden.make().eval()
    draw(net, rng)
    drawn = rng.integers(golden.words, size=golden.shape) if golden.words else rng.standard_normal(golden.shape)
    x = torch.from_numpy(drawn if golden.words else drawn.astype(np.float32))
    np.savez_compressed(FOLDER / f"{name}.npz", **record(net, x, rng))
    for exporter, dynamo, settings in (("dynamo", True, golden.dynamo), ("script", False, golden.script)):
        if settings is not None:
            export(net, x, golden, dynamo, settings, FOLDER / f"{name}.{exporter}.onnx")
    sizes = {path.name: path.stat().st_size for path in sorted(FOLDER.glob(f"{name}.*"))}
    print(", ".join(f"{file} {size / 1000:.1f} kB" for file, size in sizes.items()))


def main() -> None:
    if not torch.__version__.startswith(TORCH):
        sys.exit(f"error: the golden files are torch {TORCH}'s, this is torch {torch.__version__}")
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    torch.backends.mha.set_fastpath_enabled(False)  # it has no gradient
    FOLDER.mkdir(parents=True, exist_ok=True)
    chosen = sys.argv[1:] or list(NETS)
    if set(chosen) - set(NETS):
        sys.exit(f"error: no net {', '.join(set(chosen) - set(NETS))}; there are {', '.join(NETS)}")
    for name in chosen:
        write(name, NETS[name])
    total = sum(path.stat().st_size for path in FOLDER.iterdir())
    print(f"{total / 1000:.0f} kB in all")
    if total > LIMIT:
        sys.exit(f"error: the golden files have {total} bytes, more than {LIMIT}")


if __name__ == "__main__":
    main()
