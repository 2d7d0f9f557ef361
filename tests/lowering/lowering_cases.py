"""The layers that `lower` rewrites, in every form that a rule distinguishes: one small model of either Keras for each."""

import keras
from seeded_models import KERAS, chain


def _classes(*names):
    """The Keras kinds that have all these layers."""
    return [kind for kind, module in KERAS.items() if all(hasattr(module.layers, name) for name in names)]


def _case(name, classes, build, rule):
    return [(f"{name}-{kind}", kind, build, rule) for kind in _classes(*classes)]


def _build_all():
    cases = []

    def add(name, classes, build, rule):
        cases.extend(_case(name, classes.split(), build, rule))

    def sequence(name, classes, make, rule="recurrent", shape=(5, 4)):
        add(name, classes, lambda k: chain(k, shape, make(k.layers)), rule)

    # Normalizations.
    for name, options in {
        "ln": {}, "ln_bare": {"center": False, "scale": False}, "ln_axes": {"axis": [1, 2]}, "ln_axis1": {"axis": 1},
        "ln_epsilon": {"epsilon": 0.5}, "ln_no_center": {"center": False},
    }.items():  # fmt: skip
        add(
            name, "LayerNormalization",
            lambda k, o=options: chain(k, (5, 8), k.layers.Dense(8), k.layers.LayerNormalization(**o), k.layers.Dense(4)),
            "normalization",
        )  # fmt: skip
    for name, groups, shape in (
        ("gn_instance", -1, (6, 6, 8)), ("gn_one", 1, (6, 6, 8)), ("gn_two", 2, (6, 6, 8)), ("gn_rank3", 4, (9, 8)),
        ("gn_each", 8, (6, 6, 8)),
    ):  # fmt: skip
        add(
            name, "GroupNormalization",
            lambda k, g=groups, s=shape: chain(k, s, k.layers.Dense(8), k.layers.GroupNormalization(g), k.layers.Dense(4)),
            "normalization",
        )  # fmt: skip
    for name, kind, options in (
        ("unit", "UnitNormalization", {}), ("unit_axes", "UnitNormalization", {"axis": [1, 2]}),
        ("rms", "RMSNormalization", {}), ("rms_axes", "RMSNormalization", {"axis": [1, 2]}),
    ):  # fmt: skip
        add(
            name, kind,
            lambda k, c=kind, o=options: chain(k, (5, 8), k.layers.Dense(8), getattr(k.layers, c)(**o), k.layers.Dense(4)),
            "normalization",
        )  # fmt: skip

    # Resizing.
    for rank, shape, size in ((1, (7, 3), 3), (2, (5, 7, 3), (2, 3)), (2, (4, 6, 3), 2), (3, (2, 3, 4, 3), (3, 2, 1))):
        add(
            f"up{rank}d_{size if isinstance(size, int) else ''.join(map(str, size))}", f"UpSampling{rank}D",
            lambda k, r=rank, s=shape, z=size: chain(k, s, k.layers.Dense(4), getattr(k.layers, f"UpSampling{r}D")(z)),
            "upsampling",
        )  # fmt: skip

    # Three dimensions.
    for name, options in {
        "conv3d": {}, "conv3d_same": {"padding": "same", "activation": "relu"}, "conv3d_strides": {"strides": (2, 1, 2)},
        "conv3d_same_strides": {"padding": "same", "strides": 2, "use_bias": False},
        "conv3d_dilated": {"dilation_rate": (2, 1, 2), "kernel_size": (2, 3, 2)},
        "conv3d_same_dilated": {"dilation_rate": 2, "padding": "same", "activation": "tanh"},
        "conv3d_oblong": {"kernel_size": (1, 3, 2), "padding": "same"},
    }.items():  # fmt: skip
        add(
            name, "Conv3D",
            lambda k, o=options: chain(k, (5, 6, 7, 2), k.layers.Conv3D(3, **{"kernel_size": 3, **o})), "three_dimensions",
        )  # fmt: skip
    for kind in ("MaxPooling3D", "AveragePooling3D"):
        for padding in ("valid", "same"):
            for size, strides in ((2, None), ((3, 2, 3), (1, 2, 2))):
                add(
                    f"{kind}_{padding}_{'oblong' if strides else 'two'}", kind,
                    lambda k, c=kind, s=size, t=strides, p=padding: chain(
                        k, (5, 6, 7, 2), k.layers.Dense(4), getattr(k.layers, c)(s, strides=t, padding=p)
                    ),
                    "three_dimensions",
                )  # fmt: skip

    # Steps.
    add(
        "td_conv", "TimeDistributed", lambda k: chain(k, (3, 6, 6, 2), k.layers.TimeDistributed(k.layers.Conv2D(4, 3))),
        "time_distributed",
    )  # fmt: skip
    add("td_dense", "TimeDistributed", lambda k: chain(k, (5, 6), k.layers.TimeDistributed(k.layers.Dense(4))), "time_distributed")
    add(
        "td_model", "TimeDistributed",
        lambda k: chain(k, (3, 6, 6, 2), k.layers.TimeDistributed(
            k.Sequential([k.layers.Conv2D(4, 3), k.layers.GlobalAveragePooling2D(), k.layers.LayerNormalization()])
        )),
        "time_distributed",
    )  # fmt: skip
    for kind in ("LSTM", "GRU"):
        add(
            f"td_{kind}", "TimeDistributed",
            lambda k, c=kind: chain(k, (3, 5, 4), k.layers.TimeDistributed(getattr(k.layers, c)(6, return_sequences=True))),
            "time_distributed",
        )  # fmt: skip
    add(
        "td_nested", "TimeDistributed",
        lambda k: chain(k, (2, 3, 6, 6, 2), k.layers.TimeDistributed(k.layers.TimeDistributed(k.layers.Conv2D(4, 3)))),
        "time_distributed",
    )  # fmt: skip

    # Ids and masks.
    add(
        "embedding", "Embedding", lambda k: chain(k, (6,), k.layers.Embedding(30, 8), k.layers.Dense(4), dtype="int32"), "embedding"
    )
    add(
        "embedding_mask", "Embedding LSTM",
        lambda k: chain(k, (6,), k.layers.Embedding(30, 8, mask_zero=True), k.layers.LSTM(4), dtype="int32"), "embedding",
    )  # fmt: skip
    for name, shape, make, rule in (
        ("one_hot", (1,), lambda k: k.layers.CategoryEncoding(30, "one_hot"), "whole_numbers"),
        ("multi_hot", (6,), lambda k: k.layers.CategoryEncoding(30, "multi_hot"), "counting"),
        ("count", (6,), lambda k: k.layers.CategoryEncoding(30, "count"), "counting"),
        ("lookup", (6,), lambda k: k.layers.IntegerLookup(vocabulary=[3, 5, 7, 20, 25]), "lookup"),
        ("lookup_far", (6,), lambda k: k.layers.IntegerLookup(vocabulary=[3, 5, 7, 20, 10**6]), "lookup"),
        ("lookup_count", (6,), lambda k: k.layers.IntegerLookup(vocabulary=[3, 5, 20], output_mode="count"), "lookup"),
    ):
        embed = rule == "lookup" and name != "lookup_count"
        cases.append((
            f"{name}-keras3", "keras3",
            lambda k, s=shape, m=make, e=embed: chain(
                k, s, m(k), *([k.layers.Embedding(7, 8)] if e else []), k.layers.Dense(4), dtype="int32"
            ), rule,
        ))  # fmt: skip
    for kind in ("LSTM", "GRU", "SimpleRNN"):
        add(
            f"masking_{kind}", f"Masking {kind}",
            lambda k, c=kind: chain(k, (5, 4), k.layers.Masking(0.0), getattr(k.layers, c)(6)), "masking",
        )  # fmt: skip
    for kind, forms in {
        "LSTM": {
            "zeros": lambda layers, kind: kind(6, return_sequences=True, zero_output_for_mask=True),
            "bi_sequences": lambda layers, kind: layers.Bidirectional(kind(4, return_sequences=True)),
        },
        "GRU": {
            "state": lambda layers, kind: kind(6, return_sequences=True, return_state=True),
            "bi_sequences": lambda layers, kind: layers.Bidirectional(kind(4, return_sequences=True)),
        },
        "SimpleRNN": {
            "backwards": lambda layers, kind: kind(6, go_backwards=True, return_sequences=True),
            "last_state": lambda layers, kind: kind(6, return_state=True, go_backwards=True),
            "zero_last": lambda layers, kind: kind(6, zero_output_for_mask=True),
            "bi": lambda layers, kind: layers.Bidirectional(kind(6)),
            "bi_unroll": lambda layers, kind: layers.Bidirectional(kind(6, return_sequences=True, unroll=True)),
            "cell": lambda layers, _: layers.RNN(layers.SimpleRNNCell(6), return_sequences=True, zero_output_for_mask=True),
        },
    }.items():
        for name, make in forms.items():
            add(
                f"masking_{kind}_{name}", f"Masking {kind}",
                lambda k, c=kind, m=make: chain(k, (5, 4), k.layers.Masking(0.0), m(k.layers, getattr(k.layers, c))), "masking",
            )  # fmt: skip
    for name, options in {"last": {}, "bi": {"return_sequences": True}}.items():
        add(
            f"masking_ConvLSTM1D_{name}", "ConvLSTM1D",
            lambda k, n=name, o=options: chain(
                k, (4, 6), k.layers.Masking(0.0), k.layers.Reshape((4, 6, 1)),
                k.layers.Bidirectional(k.layers.ConvLSTM1D(3, 3, **o)) if n == "bi" else k.layers.ConvLSTM1D(3, 3, **o),
            ), "masking",
        )  # fmt: skip
    for name, options in {"plain": {}, "keepdims": {"keepdims": True}}.items():
        add(
            f"pooling_embedding_{name}", "GlobalAveragePooling1D",
            lambda k, o=options: chain(
                k, (6,), k.layers.Embedding(30, 8, mask_zero=True), k.layers.Dense(6), k.layers.GlobalAveragePooling1D(**o),
                dtype="int32",
            ), "masked_pooling",
        )  # fmt: skip
        add(
            f"pooling_masking_{name}", "GlobalAveragePooling1D",
            lambda k, o=options: chain(k, (5, 4), k.layers.Masking(0.0), k.layers.Dense(6), k.layers.GlobalAveragePooling1D(**o)),
            "masked_pooling",
        )  # fmt: skip
    add(
        "td_masked", "TimeDistributed",
        lambda k: chain(
            k, (5, 4), k.layers.Masking(0.0), k.layers.TimeDistributed(k.layers.Dense(6)), k.layers.GRU(4, return_sequences=True)
        ), "time_distributed",
    )  # fmt: skip
    cases.append((
        "td_words-keras3", "keras3",
        lambda k: chain(
            k, (5, 6), k.layers.Embedding(30, 8, mask_zero=True), k.layers.TimeDistributed(k.layers.GRU(6)), dtype="int32",
        ), "time_distributed",
    ))  # fmt: skip
    cases.extend(
        (
            f"time_major_{name}-keras2", "keras2",
            lambda k, o=options, c=kind: chain(k, (5, 4), getattr(k.layers, c)(6, time_major=True, **o)), "recurrent",
        )
        for kind in ("LSTM", "GRU", "SimpleRNN")
        for name, options in {kind: {}, f"{kind}_sequences": {"return_sequences": True, "go_backwards": True}}.items()
    )  # fmt: skip
    add(
        "masking_sequences", "Masking GRU",
        lambda k: chain(k, (5, 4), k.layers.Masking(0.0), k.layers.GRU(6, return_sequences=True), k.layers.LSTM(4)), "masking",
    )  # fmt: skip

    # Attention with a mask: causal, of padded ids, and both.
    def attend(k, x, **options):
        return k.layers.Dense(4)(k.layers.MultiHeadAttention(2, 4)(x, x, **options))

    def causal(k):
        source = k.Input((5, 8))
        return k.Model(source, attend(k, k.layers.Dense(8)(source), use_causal_mask=True))

    def padded(k, **options):
        ids = k.Input((6,), dtype="int32")
        return k.Model(ids, attend(k, k.layers.Embedding(30, 8, mask_zero=True)(ids), **options))

    add("attention_causal", "MultiHeadAttention", causal, "attention")
    add("attention_padded", "MultiHeadAttention", padded, "attention")
    add("attention_both", "MultiHeadAttention", lambda k: padded(k, use_causal_mask=True), "attention")

    # Activations.
    for name in ("elu", "selu", "softplus", "mish", "log_sigmoid", "squareplus"):
        for kind, module in KERAS.items():
            if not hasattr(module.activations, name):
                continue
            cases.append((
                f"act_{name}-{kind}", kind,
                lambda k, a=name: chain(k, (6,), k.layers.Dense(8, activation=a), k.layers.Dense(4)), "activation",
            ))  # fmt: skip
            cases.append((
                f"layer_{name}-{kind}", kind,
                lambda k, a=name: chain(k, (6,), k.layers.Dense(8), k.layers.Activation(a), k.layers.Dense(4)), "activation",
            ))  # fmt: skip
        if hasattr(keras.ops, name):
            cases.append((
                f"ops_{name}-keras3", "keras3",
                lambda k, a=name: chain(k, (6,), k.layers.Dense(8), getattr(k.ops, a), k.layers.Dense(4)), "activation",
            ))  # fmt: skip
    add("ELU", "ELU", lambda k: chain(k, (6,), k.layers.Dense(8), k.layers.ELU(0.7), k.layers.Dense(4)), "activation")

    # Recurrence.
    for name, options in {
        "plain": {}, "sequences": {"return_sequences": True}, "backwards": {"go_backwards": True, "return_sequences": True},
        "state": {"return_state": True}, "hard": {"recurrent_activation": "hard_sigmoid"}, "no_bias": {"use_bias": False},
        "sequences_state": {"return_state": True, "return_sequences": True, "go_backwards": True},
    }.items():  # fmt: skip
        for kind in ("LSTM", "GRU", "SimpleRNN"):
            if kind == "SimpleRNN" and "recurrent_activation" in options:
                continue
            sequence(f"{kind}_{name}", kind, lambda layers, c=kind, o=options: getattr(layers, c)(6, **o))
    sequence("GRU_reset_before", "GRU", lambda layers: layers.GRU(6, reset_after=False))
    sequence("GRU_reset_before_no_bias", "GRU", lambda layers: layers.GRU(6, reset_after=False, use_bias=False))
    sequence("LSTM_relu", "LSTM", lambda layers: layers.LSTM(6, activation="elu"))
    sequence("RNN_cell", "RNN LSTMCell", lambda layers: layers.RNN(layers.LSTMCell(6), return_sequences=True))
    sequence(
        "RNN_stacked", "RNN LSTMCell GRUCell",
        lambda layers: layers.RNN([layers.LSTMCell(6), layers.GRUCell(5), layers.SimpleRNNCell(4)]),
    )  # fmt: skip
    for mode in ("concat", "sum", "mul", "ave"):
        sequence(f"bi_{mode}", "Bidirectional", lambda layers, m=mode: layers.Bidirectional(layers.GRU(5), merge_mode=m))
    sequence("bi_none", "Bidirectional", lambda layers: layers.Bidirectional(layers.SimpleRNN(5), merge_mode=None))
    sequence(
        "bi_lstm_sequences", "Bidirectional", lambda layers: layers.Bidirectional(layers.LSTM(5, return_sequences=True))
    )  # fmt: skip
    sequence("bi_lstm", "Bidirectional", lambda layers: layers.Bidirectional(layers.LSTM(5)))
    sequence(
        "bi_two", "Bidirectional",
        lambda layers: layers.Bidirectional(layers.LSTM(5), backward_layer=layers.GRU(4, go_backwards=True)),
    )  # fmt: skip
    sequence("ConvLSTM1D", "ConvLSTM1D", lambda layers: layers.ConvLSTM1D(3, 3, padding="same"), shape=(3, 6, 2))
    sequence(
        "ConvLSTM2D", "ConvLSTM2D", lambda layers: layers.ConvLSTM2D(3, 3, return_sequences=True), shape=(3, 6, 5, 2)
    )  # fmt: skip

    def given_state(kind):
        def build(k):
            source, state, second = k.Input((5, 4)), k.Input((6,)), k.Input((6,))
            states = [state, second] if kind == "LSTM" else [state]
            result = getattr(k.layers, kind)(6)(source, initial_state=states)
            return k.Model([source, *states], result)

        return build

    for kind in ("LSTM", "GRU", "SimpleRNN"):
        add(f"{kind}_initial_state", kind, given_state(kind), "recurrent")
    return cases


CASES = _build_all()
