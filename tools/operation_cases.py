"""Every float operation of `keras.ops` as small cases: a function of tensors, and inputs that it takes.

`tools/sweep_ops.py` makes docs/operations.md of them, and the tests assert its columns.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

JUMPS = frozenset({
    "arctan2", "sign", "floor", "ceil", "round", "trunc", "hard_shrink", "threshold", "signbit", "logical_not", "x - floor(x)",
    "floor_divide", "mod", "where(x > 0, 1, -1)", "where(x > y, 2 x, 0.1 y)", "select", "greater", "greater_equal", "less",
    "less_equal", "equal", "not_equal", "isclose", "argmax", "argmin", "argsort", "top_k, indices",
    "winners: where(x >= top_k, x, 0)", "one_hot of argmax",
})  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Case:
    """An operation with arguments.

    Attributes:
        name: as in the table.
        compute: function of `keras.ops` and float tensors (batch, ...).
        shape: of each input, without the batch.
        domains: one for each input: "any" between -2 and 2, "positive" from 0.1 to 1.1, "unit" between -0.9 and 0.9, "ids" whole
            numbers from 0 to 5, "mask" true or false.
        jumps: whether the result jumps where an input moves a little, so that rounding the input decides it.
    """

    name: str
    compute: Callable[..., Any]
    shape: tuple[int, ...] = (6, 8)
    domains: tuple[str, ...] = ("any",)
    jumps: bool = False


def _all() -> list[Case]:
    cases: list[Case] = []

    def add(name: str, compute: Callable[..., Any], *domains: str, shape: tuple[int, ...] = (6, 8)) -> None:
        cases.append(Case(name, compute, shape, domains or ("any",), name in JUMPS))

    def plain(names: str, *domains: str) -> None:
        for name in names.split():
            add(name, lambda ops, *tensors, name=name: getattr(ops, name)(*tensors), *domains)

    # One tensor, element by element.
    plain("abs negative square sign floor ceil round trunc exp expm1 exp2 sin cos tanh arctan sinh cosh arcsinh erf sinc cbrt tan")
    plain("sqrt rsqrt log log1p log2 log10 reciprocal", "positive")
    plain("arcsin arccos arctanh erfinv", "unit")
    plain("relu relu6 sigmoid silu softplus softsign elu selu celu leaky_relu hard_sigmoid hard_silu hard_tanh log_sigmoid")
    plain("softmax log_softmax tanh_shrink soft_shrink hard_shrink sparse_plus sparse_sigmoid squareplus deg2rad isfinite")
    add("threshold", lambda ops, x: ops.threshold(x, 0.5, 0.1))
    add("gelu by erf", lambda ops, x: 0.5 * x * (1.0 + ops.erf(x / 2**0.5)))
    plain("nan_to_num signbit logical_not sparsemax")
    add("arccosh", lambda ops, x: ops.arccosh(x + 1.0), "positive")
    add("gelu", lambda ops, x: ops.gelu(x, approximate=False))
    add("gelu, approximate", lambda ops, x: ops.gelu(x, approximate=True))
    add("glu", lambda ops, x: ops.glu(x))
    add("mish", lambda ops, x: x * ops.tanh(ops.softplus(x)))
    add("clip", lambda ops, x: ops.clip(x, -0.5, 0.7))
    add("power 2", lambda ops, x: ops.power(x, 2))
    add("power 3", lambda ops, x: ops.power(x, 3))
    add("power 0.5", lambda ops, x: ops.power(x, 0.5), "positive")
    add("-relu(-x)", lambda ops, x: -ops.relu(-x))
    add("maximum(0, x)", lambda ops, x: ops.maximum(0.0, x))
    add("maximum(x, 0.1 x)", lambda ops, x: ops.maximum(x, 0.1 * x))
    add("minimum(x, 0.5)", lambda ops, x: ops.minimum(x, 0.5))
    add("x - floor(x)", lambda ops, x: x - ops.floor(x))
    add("1 / (1 + exp(-x))", lambda ops, x: 1.0 / (1.0 + ops.exp(-x)))
    add("1 - x", lambda ops, x: 1.0 - x)
    add("x / 3", lambda ops, x: x / 3.0)

    # Several tensors.
    plain("add subtract multiply maximum minimum", "any", "any")
    plain("logaddexp", "any", "any")
    plain("arctan2", "any", "any")
    add("sqrt(x^2 + y^2)", lambda ops, x, y: ops.sqrt(ops.square(x) + ops.square(y)), "any", "any")
    plain("divide", "any", "positive")
    plain("divide_no_nan floor_divide mod", "any", "positive")
    plain("power", "positive", "positive")
    plain("hypot", "positive", "positive")
    add("matmul", lambda ops, x, y: ops.matmul(x, ops.transpose(y, (0, 2, 1))), "any", "any")
    add("dot with a constant", lambda ops, x: ops.dot(x, ops.reshape(ops.arange(32, dtype="float32") / 32 - 0.5, (8, 4))))
    add("einsum bij,bkj->bik", lambda ops, x, y: ops.einsum("bij,bkj->bik", x, y), "any", "any")
    add("einsum bij,bij->bi", lambda ops, x, y: ops.einsum("bij,bij->bi", x, y), "any", "any")
    add("einsum bij->bji", lambda ops, x: ops.einsum("bij->bji", x))
    add("tensordot", lambda ops, x: ops.tensordot(x, ops.ones((8, 3)), axes=1))
    add("cross", lambda ops, x, y: ops.cross(x[..., :3], y[..., :3]), "any", "any")

    # Choices.
    add("where(x > 0, x, 0.1 x)", lambda ops, x: ops.where(x > 0, x, 0.1 * x))
    add("where(x > 0, x, 0)", lambda ops, x: ops.where(x > 0, x, ops.zeros_like(x)))
    add("where(x > 0, 1, -1)", lambda ops, x: ops.where(x > 0, 1.0, -1.0))
    add("where(x > y, x, y)", lambda ops, x, y: ops.where(x > y, x, y), "any", "any")
    add("where(x > y, 2 x, 0.1 y)", lambda ops, x, y: ops.where(x > y, 2 * x, 0.1 * y), "any", "any")
    add("where(mask, x, 0)", lambda ops, x, mask: ops.where(mask, x, 0.0), "any", "mask")
    add("where(mask, x, y)", lambda ops, x, y, mask: ops.where(mask, x, y), "any", "any", "mask")
    add("where(abs(x) < 1, x^2 / 2, abs(x) - 0.5)", lambda ops, x: ops.where(ops.abs(x) < 1, x * x / 2, ops.abs(x) - 0.5))
    add("select", lambda ops, x: ops.select([x > 1, x > 0], [x, 0.5 * x], 0.1 * x))
    add("x * cast(x > 0)", lambda ops, x: x * ops.cast(x > 0, "float32"))
    add("x * cast(mask)", lambda ops, x, mask: x * ops.cast(mask, "float32"), "any", "mask")
    add("x + (1 - cast(mask)) * -1e9, softmax", lambda ops, x, mask: ops.softmax(
        x + (1.0 - ops.cast(mask, "float32")) * -1e9), "any", "mask")  # fmt: skip
    add("where(mask, x, -1e9), softmax", lambda ops, x, mask: ops.softmax(ops.where(mask, x, -1e9)), "any", "mask")
    for name in ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal"):
        add(name, lambda ops, x, y, name=name: getattr(ops, name)(x, y), "any", "any")
    plain("logical_and logical_or logical_xor", "mask", "mask")
    plain("isclose", "any", "any")

    # Along an axis.
    for name in ("sum", "mean", "max", "min", "prod", "std", "var", "logsumexp", "median"):
        add(name, lambda ops, x, name=name: getattr(ops, name)(x, axis=-1, keepdims=True))
        if name in ("sum", "mean", "max", "min"):
            add(f"{name}, axis 1", lambda ops, x, name=name: getattr(ops, name)(x, axis=1))
    for name in ("any", "all"):
        add(name, lambda ops, x, name=name: getattr(ops, name)(x, axis=-1), "mask")
    add("cumsum", lambda ops, x: ops.cumsum(x, axis=1))
    add("cumprod", lambda ops, x: ops.cumprod(x, axis=1))
    add("diff", lambda ops, x: ops.diff(x, axis=1))
    add("norm", lambda ops, x: ops.norm(x, axis=-1, keepdims=True))
    add("normalize", lambda ops, x: ops.normalize(x, axis=-1))
    add("norm, order 1", lambda ops, x: ops.norm(x, ord=1, axis=-1, keepdims=True))
    add("argmax", lambda ops, x: ops.argmax(x, axis=-1))
    add("argmin", lambda ops, x: ops.argmin(x, axis=-1))
    add("argsort", lambda ops, x: ops.argsort(x, axis=-1))
    add("sort", lambda ops, x: ops.sort(x, axis=-1))
    add("top_k", lambda ops, x: ops.top_k(x, 3)[0])
    add("top_k, indices", lambda ops, x: ops.top_k(x, 3)[1])
    add("winners: where(x >= top_k, x, 0)", lambda ops, x: ops.where(
        x >= ops.top_k(x, 3)[0][..., -1:], x, ops.zeros_like(x)))  # fmt: skip
    add("layer_normalization", lambda ops, x: ops.layer_normalization(x, axis=-1))
    add("rms_normalization", lambda ops, x: ops.rms_normalization(x, axis=-1))
    add("moments", lambda ops, x: ops.concatenate(ops.moments(x, [-1], keepdims=True), -1))
    add("(x - mean) / std", lambda ops, x: (x - ops.mean(x, -1, keepdims=True)) / (ops.std(x, -1, keepdims=True) + 1e-3))

    # Places.
    add("take", lambda ops, x: ops.take(x, [0, 2, 5], axis=1))
    add("take of a table", lambda ops, ids: ops.take(ops.reshape(ops.arange(48, dtype="float32") / 48 - 0.5, (6, 8)),
                                                     ops.cast(ids, "int32"), axis=0), "ids", shape=(5,))  # fmt: skip
    add("take_along_axis", lambda ops, x: ops.take_along_axis(x, ops.argsort(x, axis=-1), axis=-1))
    add("one_hot", lambda ops, ids: ops.one_hot(ops.cast(ids, "int32"), 6), "ids", shape=(5,))
    add("one_hot of argmax", lambda ops, x: ops.one_hot(ops.argmax(x, axis=-1), 8))
    for name, compute in {
        "reshape": lambda ops, x: ops.reshape(x, (-1, 8, 6)),
        "transpose": lambda ops, x: ops.transpose(x, (0, 2, 1)),
        "squeeze": lambda ops, x: ops.squeeze(x[:, :1], 1),
        "expand_dims": lambda ops, x: ops.expand_dims(x, 1),
        "concatenate": lambda ops, x: ops.concatenate([x, 2 * x], 1),
        "stack": lambda ops, x: ops.stack([x, 2 * x], 1),
        "split": lambda ops, x: ops.split(x, 2, axis=-1)[0] + ops.split(x, 2, axis=-1)[1],
        "unstack": lambda ops, x: ops.unstack(x, axis=1)[0] * ops.unstack(x, axis=1)[3],
        "pad": lambda ops, x: ops.pad(x, ((0, 0), (1, 1), (0, 0))),
        "tile": lambda ops, x: ops.tile(x, (1, 2, 1)),
        "pad, reflect": lambda ops, x: ops.pad(x, ((0, 0), (1, 1), (0, 0)), "reflect"),
        "repeat": lambda ops, x: ops.repeat(x, 2, axis=1),
        "roll": lambda ops, x: ops.roll(x, 2, axis=1),
        "flip": lambda ops, x: ops.flip(x, axis=1),
        "slice": lambda ops, x: x[:, 1:5:2, ::2],
        "broadcast_to": lambda ops, x: ops.broadcast_to(x[:, :1], (1, 6, 8)),
        "swapaxes": lambda ops, x: ops.swapaxes(x, 1, 2),
        "tril": lambda ops, x: ops.tril(x),
        "triu": lambda ops, x: ops.triu(x),
        "diagonal": lambda ops, x: ops.diagonal(x, 0, 1, 2),
        "meshgrid": lambda ops, x: ops.meshgrid(x[0, :, 0], x[0, 0])[0][None],
        "trace": lambda ops, x: ops.expand_dims(ops.trace(x, 0, 1, 2), -1),
        "ones_like": lambda ops, x: x + ops.ones_like(x),
        "slice_update": lambda ops, x: ops.slice_update(x, (0, 1, 0), 2 * x[:, :2]),
        "scatter_update": lambda ops, x: ops.scatter_update(x, [[0, 1, 2]], 2 * x[:, 0, 0]),
        "segment_sum": lambda ops, x: ops.segment_sum(x[0], ops.convert_to_tensor([0, 0, 1, 1, 2, 2]), 3)[None],
        "rot90": lambda ops, x: ops.rot90(x, axes=(1, 2)),
        "rearrange": lambda ops, x: ops.rearrange(x, "b (h g) c -> b h (g c)", g=2),
    }.items():  # fmt: skip
        add(name, compute)

    # Images and signals.
    image = (8, 8, 4)
    add("average_pool", lambda ops, x: ops.average_pool(x, 2), shape=image)
    add("max_pool", lambda ops, x: ops.max_pool(x, 2), shape=image)
    add("adaptive_average_pool", lambda ops, x: ops.adaptive_average_pool(x, 2), shape=image)
    add("conv", lambda ops, x: ops.conv(x, ops.ones((3, 3, 4, 4)) / 36, padding="same"), shape=image)
    add("depthwise_conv", lambda ops, x: ops.depthwise_conv(x, ops.ones((3, 3, 4, 1)) / 9), shape=image)
    add("conv_transpose", lambda ops, x: ops.conv_transpose(x, ops.ones((2, 2, 4, 4)) / 16, strides=2), shape=image)
    add("depth_to_space", lambda ops, x: ops.depth_to_space(x, 2), shape=image)
    add("space_to_depth", lambda ops, x: ops.space_to_depth(x, 2), shape=image)
    for kind in ("bilinear", "nearest"):
        add(f"image.resize, {kind}", lambda ops, x, kind=kind: ops.image.resize(x, (16, 16), kind), shape=image)
    add("image.rgb_to_grayscale", lambda ops, x: ops.image.rgb_to_grayscale(x[..., :3]), shape=image)
    add("dot_product_attention", lambda ops, x: ops.dot_product_attention(
        *[ops.reshape(x, (-1, 6, 2, 4))] * 3), shape=(6, 8))  # fmt: skip
    add("dot_product_attention, causal", lambda ops, x: ops.dot_product_attention(
        *[ops.reshape(x, (-1, 6, 2, 4))] * 3, is_causal=True), shape=(6, 8))  # fmt: skip
    add("rotary embedding", _rotary, shape=(6, 8))
    add("rfft", lambda ops, x: ops.rfft(x)[0])
    add("rfft, size", lambda ops, x: ops.sqrt(ops.sum(ops.square(ops.stack(ops.rfft(x))), 0)))
    add("stft, size", lambda ops, x: ops.sqrt(sum(ops.square(part) for part in ops.stft(x, 4, 2, 8))))
    add("stft, power", lambda ops, x: sum(ops.square(part) for part in ops.stft(x, 4, 2, 8)))
    add("fft2, size", lambda ops, x: ops.sqrt(sum(ops.square(part) for part in ops.fft2((x, ops.zeros_like(x))))))
    add("fft2, real part", lambda ops, x: ops.fft2((x, ops.zeros_like(x)))[0])
    add("stft", lambda ops, x: ops.stft(x, 4, 2, 8)[0])
    add("logits with a temperature", lambda ops, x: ops.softmax(x / 0.5))
    return cases


IMPOSSIBLE = {
    "erfinv": "TFLite has no such operation.",
    "floor_divide": "The quotient is rounded before it is cut, and then often falls to the other side.",
    "adaptive_average_pool": "It averages twice and rounds five times: 29.7 dB between Dense layers.",
    "cross": "Its differences of products are small beside the products: 29.5 dB between Dense layers.",
    "mod": "The rest of a division jumps by the divisor where the quotient moves a little.",
    "sparsemax": "It sorts, sums up and compares numbers that are rounded at each step.",
    "cumprod": "Each product rounds the one before.",
}
"""Name of a case -> why it has no int8 file without a float operation, or none that is as right as 8 bits allow."""


def _rotary(ops: Any, x: Any) -> Any:
    """Rotary position embedding of pairs (first half, second half), arXiv:2104.09864."""
    angles = ops.arange(6, dtype="float32")[:, None] * 10000.0 ** (-ops.arange(4, dtype="float32") / 4)
    sine, cosine = (ops.concatenate([each(angles)] * 2, -1) for each in (ops.sin, ops.cos))
    first, second = ops.split(x, 2, axis=-1)
    return x * cosine + ops.concatenate([-second, first], -1) * sine


CASES = _all()
