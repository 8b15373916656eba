"""What the layers compute that reshape, reorder, repeat, pad and cut, by values that were worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from support.alone import Alone

from layerforge import Net
from layerforge.schema.errors import LayerError, LayerForgeError

LETTERS = [[1.0, 2.0, 3.0, 4.0]]


def gradient(layer: Alone, dy: object) -> np.ndarray:
    return layer.vjp(dy)["bottom[0]"]


# Reshaping and reordering ---------------------------------------------------------------------------------------------


def test_reshape_zero_copies_and_minus_one_takes_the_rest() -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    assert Alone("Reshape", x, shape=[0, -1, 2]).top().shape == (2, 6, 2)
    assert Alone("Reshape", x, shape=[0, 0, 2, -1]).top().shape == (2, 3, 2, 2)
    assert_array_equal(Alone("Reshape", x, shape=[-1]).top(), np.arange(24))


def test_flatten_joins_axes_in_row_major_order() -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    assert_array_equal(Alone("Flatten", x).top(), x.reshape(2, 12))
    assert Alone("Flatten", x, start_dim=0, end_dim=1).top().shape == (6, 4)
    assert Alone("Flatten", x, start_dim=-1).top().shape == (2, 3, 4)
    assert_array_equal(Alone("Flatten", x).vjp(x.reshape(2, 12))["bottom[0]"], x)


def test_squeeze_refuses_an_axis_that_holds_something() -> None:
    with pytest.raises(LayerForgeError, match="axis 1 has size 3, only an axis of size 1"):
        Alone("Squeeze", np.zeros((2, 3)), dim=1)


def test_squeeze_of_all_axes_keeps_the_batch_of_one_sample() -> None:
    for n in (1, 2):
        assert Alone("Squeeze", np.zeros((n, 1, 3, 1))).top().shape == (n, 3)
    assert Alone("Squeeze", np.zeros((1, 1, 3)), dim=[0, 1]).top().shape == (3,)


def test_permute_sends_the_gradient_back_the_way_it_came() -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    layer = Alone("Permute", x, dims=[2, 0, 1])
    y = layer.top()
    assert y.shape == (4, 2, 3)
    assert y[3, 1, 2] == x[1, 2, 3]
    assert_array_equal(gradient(layer, y), x)


def test_flip_reads_backwards() -> None:
    assert_array_equal(Alone("Flip", [[1.0, 2.0, 3.0]], dims=1).top(), [[3, 2, 1]])
    assert_array_equal(gradient(Alone("Flip", [[1.0, 2.0, 3.0]], dims=1), [[1.0, 0.0, 0.0]]), [[0, 0, 1]])


# Repetition -----------------------------------------------------------------------------------------------------------


def test_repeat_puts_blobs_and_repeat_interleave_numbers_side_by_side() -> None:
    x, dy = [[1.0, 2.0]], [[1.0, 10.0, 100.0, 1000.0]]
    whole, each = Alone("Repeat", x, repeats=[1, 2]), Alone("RepeatInterleave", x, repeats=2, dim=1)
    assert_array_equal(whole.top(), [[1, 2, 1, 2]])
    assert_array_equal(each.top(), [[1, 1, 2, 2]])
    assert_array_equal(gradient(whole, dy), [[101, 1010]])
    assert_array_equal(gradient(each, dy), [[11, 1100]])


def test_repeat_interleave_with_a_count_for_each_place() -> None:
    layer = Alone("RepeatInterleave", [[1.0, 2.0, 3.0]], repeats=[2, 0, 1], dim=1)
    assert_array_equal(layer.top(), [[1, 1, 3]])
    assert_array_equal(gradient(layer, [[1.0, 10.0, 100.0]]), [[11, 0, 100]])


def test_repeat_interleave_without_dim_reads_the_blob_as_one_axis() -> None:
    x = [[1.0, 2.0], [3.0, 4.0]]
    layer = Alone("RepeatInterleave", x, repeats=2)
    assert_array_equal(layer.top(), [1, 1, 2, 2, 3, 3, 4, 4])
    assert_array_equal(gradient(layer, np.arange(8.0)), [[1, 5], [9, 13]])
    assert_array_equal(Alone("RepeatInterleave", x, repeats=[0, 1, 0, 2]).top(), [2, 4, 4])


def test_counts_for_samples_tie_a_net_to_one_batch_size() -> None:
    layer = {"name": "r", "type": "RepeatInterleave", "repeats": [1, 2], "dim": 0}
    net = Net.from_config({"inputs": {"x": {"shape": [2, 1]}}, "net": [layer]})
    assert_array_equal(net.forward(x=np.array([[1.0], [2.0]]))["r"], [[1], [2], [2]])
    with pytest.raises(LayerError, match=r"'r'.*repeats has 2 counts for the 3 places of axis 0"):
        net.forward(x=np.zeros((3, 1)))


def test_tile_does_as_caffe_does_with_an_axis() -> None:
    """Caffe's axis 1 with 2 tiles repeats the block of the axes 1 and 2: here [2, 1]."""
    x = np.arange(8.0).reshape(2, 2, 2)
    assert_array_equal(Alone("Tile", x, dims=[2, 1]).top(), np.concatenate([x, x], axis=1))


def test_expand_adds_up_what_was_spread_and_can_be_overwritten_in_place() -> None:
    layer = Alone("Expand", [[1.0], [2.0]], shape=[3, -1, 2])
    assert_array_equal(layer.top(), [[[1, 1], [2, 2]]] * 3)
    assert_array_equal(gradient(layer, np.ones((3, 2, 2))), [[6], [6]])
    layers = [{"name": "wide", "type": "Expand", "shape": [-1, 2]}, {"type": "ReLU", "name": "r", "top": "wide"}]
    net = Net.from_config({"inputs": {"x": {"shape": [2, 1]}}, "net": layers})
    assert_array_equal(net.forward(x=np.array([[-1.0], [2.0]]))["wide"], [[0, 0], [2, 2]])


# Pad and Crop ---------------------------------------------------------------------------------------------------------


def test_pad_in_its_three_modes() -> None:
    assert_array_equal(Alone("Pad", LETTERS, padding=[2, 1], value=9.0).top(), [[9, 9, 1, 2, 3, 4, 9]])
    assert_array_equal(Alone("Pad", LETTERS, padding=[2, 1], mode="reflect").top(), [[3, 2, 1, 2, 3, 4, 3]])
    assert_array_equal(Alone("Pad", LETTERS, padding=[2, 1], mode="replicate").top(), [[1, 1, 1, 2, 3, 4, 4]])


def test_pad_folds_the_gradient_of_the_border_back() -> None:
    dy = [[1.0, 10.0, 100.0, 1000.0, 1e4, 1e5, 1e6]]
    assert_array_equal(gradient(Alone("Pad", LETTERS, padding=[2, 1]), dy), [[100, 1000, 1e4, 1e5]])
    reflected = gradient(Alone("Pad", LETTERS, padding=[2, 1], mode="reflect"), dy)
    assert_array_equal(reflected, [[100, 1010, 1e4 + 1 + 1e6, 1e5]])
    replicated = gradient(Alone("Pad", LETTERS, padding=[2, 1], mode="replicate"), dy)
    assert_array_equal(replicated, [[111, 1000, 1e4, 1e5 + 1e6]])


def test_pad_begins_with_the_last_axis() -> None:
    assert Alone("Pad", np.zeros((2, 3, 4)), padding=[1, 2, 10, 20]).top().shape == (2, 33, 7)


def test_pad_fills_labels_with_a_label() -> None:
    y = Alone("Pad", np.array([[1, 2]]), padding=[0, 2], value=5).top()
    assert_array_equal(y, [[1, 2, 5, 5]])
    assert y.dtype == np.int64


def test_crop_takes_the_part_at_the_offset() -> None:
    x = np.arange(20.0).reshape(1, 1, 4, 5)
    layer = Alone("Crop", x, np.zeros((1, 7, 2, 2), dtype=int), offset=[1, 3])
    assert_array_equal(layer.top(), [[[[8, 9], [13, 14]]]])
    dx = gradient(layer, [[[[1.0, 2.0], [3.0, 4.0]]]])
    assert_array_equal(dx[0, 0], [[0, 0, 0, 0, 0], [0, 0, 0, 1, 2], [0, 0, 0, 3, 4], [0, 0, 0, 0, 0]])


def test_crop_keeps_the_axes_before_dim() -> None:
    x, like = np.zeros((2, 6, 4, 4)), np.zeros((2, 3, 2, 2), dtype=int)
    assert Alone("Crop", x, like).top().shape == (2, 6, 2, 2)
    assert Alone("Crop", x, like, dim=1).top().shape == (2, 3, 2, 2)


# Joining and cutting --------------------------------------------------------------------------------------------------


def test_stack_makes_an_axis_where_concat_lengthens_one() -> None:
    a, b = [[1.0, 2.0]], [[3.0, 4.0]]
    assert_array_equal(Alone("Stack", a, b).top(), [[[1, 2], [3, 4]]])
    assert_array_equal(Alone("Concat", a, b).top(), [[1, 2, 3, 4]])


def test_split_by_one_size_leaves_a_shorter_piece() -> None:
    pieces = Alone("Split", [[1.0, 2.0, 3.0, 4.0, 5.0]], split_size=2, tops=3).forward()
    assert [p.tolist() for p in pieces] == [[[1, 2]], [[3, 4]], [[5]]]


def test_the_gradient_of_a_split_is_put_together_in_a_net() -> None:
    layers = [
        {"name": "cut", "type": "Split", "split_size": 1, "bottom": "x", "top": ["a", "b"]},
        {"name": "mul", "type": "Mul", "bottom": ["a", "b"]},
    ]
    net = Net.from_config({"inputs": {"x": {"shape": [1, 2], "grad": True}}, "net": layers})
    net.forward(x=np.array([[3.0, 5.0]]), backward=True)
    net.backward(mul=np.ones((1, 1)))
    assert_array_equal(net.blobs["x"].grad, [[5, 3]])


# Concat and Slice -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -3])
def test_slice_undoes_concat(dim: int) -> None:
    rng = np.random.default_rng(0)
    shapes = [[4, 5, 6] for _ in range(3)]
    for shape, size in zip(shapes, (1, 3, 2), strict=True):
        shape[dim] = size
    parts = [rng.normal(size=shape) for shape in shapes]
    whole = Alone("Concat", *parts, dim=dim).top()
    assert whole.shape[dim] == 6
    pieces = Alone("Slice", whole, dim=dim, points=[1, 4], tops=3)
    for got, want in zip(pieces.forward(), parts, strict=True):
        assert_array_equal(got, want)
    assert_array_equal(pieces.vjp(*parts)["bottom[0]"], whole)
    back = Alone("Concat", *parts, dim=dim).vjp(whole)
    for i, want in enumerate(parts):
        assert_array_equal(back[f"bottom[{i}]"], want)


def test_slice_without_points_makes_as_many_equal_pieces_as_there_are_tops() -> None:
    x = np.arange(12.0).reshape(2, 6)
    for tops in (1, 2, 3, 6):
        pieces = Alone("Slice", x, tops=tops).forward()
        assert [p.shape for p in pieces] == [(2, 6 // tops)] * tops
        assert_array_equal(np.concatenate(pieces, axis=1), x)
    with pytest.raises(LayerError, match="axis 1 of size 6 has no 4 equal parts") as caught:
        Alone("Slice", x, tops=4)
    assert caught.value.exit_code == 2


def test_slice_refuses_another_number_of_tops_than_points_make() -> None:
    with pytest.raises(LayerError, match="makes 2 pieces for 3"):
        Alone("Slice", np.zeros((2, 6)), points=[2], tops=3)
