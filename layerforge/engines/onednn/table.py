"""The engine's layers by the type that they stand in for."""

from __future__ import annotations

from . import attention, conv, loss, norm, pool, recurrent
from .base import OneDnn
from .dropout import OneDnnDropout, OneDnnDropout2d
from .elementwise import ELEMENTWISE, OneDnnAdd
from .linear import OneDnnLinear
from .reshaping import OneDnnFlatten, OneDnnReshape
from .softmax import OneDnnLogSoftmax, OneDnnSoftmax

LAYERS: dict[str, type[OneDnn]] = {
    cls.type_name: cls
    for cls in (
        OneDnnLinear,
        conv.OneDnnConv1d,
        conv.OneDnnConv2d,
        conv.OneDnnConv3d,
        conv.OneDnnConvTranspose1d,
        conv.OneDnnConvTranspose2d,
        conv.OneDnnConvTranspose3d,
        pool.OneDnnMaxPool1d,
        pool.OneDnnMaxPool2d,
        pool.OneDnnMaxPool3d,
        pool.OneDnnAvgPool1d,
        pool.OneDnnAvgPool2d,
        pool.OneDnnAvgPool3d,
        pool.OneDnnGlobalAvgPool2d,
        norm.OneDnnBatchNorm,
        norm.OneDnnLayerNorm,
        norm.OneDnnLocalResponseNorm,
        recurrent.OneDnnLSTM,
        recurrent.OneDnnGRU,
        recurrent.OneDnnRNN,
        attention.OneDnnScaledDotProductAttention,
        attention.OneDnnMultiheadAttention,
        OneDnnAdd,
        OneDnnDropout,
        OneDnnDropout2d,
        OneDnnSoftmax,
        OneDnnLogSoftmax,
        OneDnnFlatten,
        OneDnnReshape,
        loss.OneDnnSoftmaxCrossEntropy,
        *ELEMENTWISE.values(),
    )
}
