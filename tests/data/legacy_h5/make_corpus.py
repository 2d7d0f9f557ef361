# Writes small models with the Keras of its day: <out>/<writer>/<kind>.h5 and <kind>.npz (x0.., y0..). Usage: make_corpus.py WRITER OUT keras|tf
from __future__ import print_function
import os, sys, traceback

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import warnings

warnings.filterwarnings("ignore")
import numpy as np

writer, out, which = sys.argv[1:4]
if which == "tf":
    import tensorflow as tf

    K = tf.keras
else:
    import keras as K
from importlib import import_module

L, M, I = K.layers, K.models, K.layers.Input
B = K.backend
out = os.path.join(out, writer)
if not os.path.isdir(out):
    os.makedirs(out)
rng = np.random.RandomState(7)


def r(*s):
    return rng.randn(*s).astype("float32")


def randomize(m):
    for l in m.layers:
        if hasattr(l, "layers") and l.layers:
            randomize(l)
            continue
        w = l.get_weights()
        if not w:
            continue
        w = [rng.uniform(-0.4, 0.4, v.shape).astype(v.dtype) if v.dtype.kind == "f" else v for v in w]
        if "BatchNorm" in l.__class__.__name__:
            w[0] += 1.0
            w[3] = np.abs(w[3]) + np.asarray(0.5, w[3].dtype)
        if "LayerNorm" in l.__class__.__name__:
            w[0] += 1.0
        l.set_weights(w)


def mlp():
    return M.Sequential(
        [L.Dense(16, input_shape=(12,)), L.BatchNormalization(), L.LeakyReLU(0.2), L.Dropout(0.3), L.Dense(5, activation="softmax")]
    ), [r(8, 12)]


def cnn():
    i = I(shape=(16, 16, 3))
    x = L.Conv2D(8, 3, padding="same", use_bias=False)(i)
    x = L.BatchNormalization()(x)
    x = L.Activation("relu")(x)
    x = L.MaxPooling2D(2)(x)
    x = L.Flatten()(x)
    return M.Model(i, L.Dense(4, activation="softmax")(x)), [r(8, 16, 16, 3)]


def depthwise():
    i = I(shape=(12, 12, 4))
    x = L.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(i)
    x = L.ReLU(6.0)(x) if hasattr(L, "ReLU") else L.Activation("relu")(x)
    return M.Model(i, L.GlobalAveragePooling2D()(x)), [r(8, 12, 12, 4)]


def separable():
    return M.Sequential([L.SeparableConv2D(6, 3, input_shape=(12, 12, 4), activation="elu"), L.GlobalMaxPooling2D(), L.Dense(3)]), [
        r(8, 12, 12, 4)
    ]


def transpose():
    i = I(shape=(6, 6, 4))
    return M.Model(i, L.Conv2DTranspose(3, 3, strides=2, padding="same", activation="sigmoid")(i)), [r(8, 6, 6, 4)]


def conv1d():
    i = I(shape=(40, 4))
    x = L.Conv1D(8, 3, padding="causal", dilation_rate=2, activation="relu")(i)
    x = L.Cropping1D(2)(L.Add()([x, L.Conv1D(8, 1)(i)])) if hasattr(L, "Add") else x
    return M.Model(i, L.GlobalMaxPooling1D()(x)), [r(8, 40, 4)]


def conv1d_any_length():
    i = I(shape=(None, 4))
    return M.Model(i, L.Conv1D(3, 1, activation="softmax")(L.Conv1D(8, 5, padding="same", activation="relu")(i))), [r(8, 30, 4)]


def lstm():
    return M.Sequential([L.LSTM(8, input_shape=(10, 4), return_sequences=True), L.LSTM(6), L.Dense(3)]), [r(8, 10, 4)]


def gru():
    return M.Sequential([L.GRU(8, input_shape=(10, 4)), L.Dense(3)]), [r(8, 10, 4)]


def bidirectional():
    return M.Sequential([L.Bidirectional(L.LSTM(5), input_shape=(10, 4)), L.Dense(3, activation="tanh")]), [r(8, 10, 4)]


def masking():
    return M.Sequential([L.Masking(0.0, input_shape=(10, 4)), L.LSTM(5), L.Dense(2)]), [r(8, 10, 4)]


def embedding():
    return M.Sequential([L.Embedding(30, 8, input_length=12), L.GlobalAveragePooling1D(), L.Dense(3)]), [
        rng.randint(0, 30, (8, 12)).astype("int32")
    ]


def nested():
    i = I(shape=(8, 8, 4))
    inner = M.Model(i, L.Activation("relu")(L.BatchNormalization()(L.Conv2D(4, 3, padding="same")(i))), name="inner")
    head = M.Sequential([L.GlobalAveragePooling2D(input_shape=(8, 8, 4)), L.Dense(3)], name="head")
    j = I(shape=(8, 8, 4))
    return M.Model(j, head(inner(inner(j)))), [r(8, 8, 8, 4)]


def two_in_two_out():
    a, b = I(shape=(6,), name="left"), I(shape=(9,), name="right")
    x = L.concatenate([L.Dense(5, activation="tanh")(a), L.Dense(5, activation="relu")(b)])
    return M.Model([a, b], [L.Dense(2, name="u")(x), L.Dense(3, activation="softmax", name="v")(x)]), [r(8, 6), r(8, 9)]


def merges():
    a, b = I(shape=(6,)), I(shape=(6,))
    x = L.Multiply()([a, b])
    y = L.Average()([a, b])
    z = L.Maximum()([x, y])
    w = L.Subtract()([z, a]) if hasattr(L, "Subtract") else z
    return M.Model([a, b], L.Dense(3)(w)), [r(8, 6), r(8, 6)]


def shared():
    a, b = I(shape=(6,)), I(shape=(6,))
    d = L.Dense(4, activation="relu")
    return M.Model([a, b], L.Dense(1, activation="sigmoid")(L.concatenate([d(a), d(b)]))), [r(8, 6), r(8, 6)]


def activations():
    i = I(shape=(8, 8, 3))
    x = L.PReLU(shared_axes=[1, 2])(L.Conv2D(4, 1)(i))
    x = L.ELU(0.7)(x)
    x = L.Activation("softplus")(L.Activation("softsign")(x))
    x = L.Activation("hard_sigmoid")(x)
    return M.Model(i, L.Dense(2, activation="selu")(L.Flatten()(x))), [r(8, 8, 8, 3)]


def upsample_concat():
    i = I(shape=(8, 8, 3))
    x = L.Conv2D(6, 3, padding="same", activation="relu")(i)
    d = L.AveragePooling2D(2)(x)
    u = L.UpSampling2D(2)(d)
    return M.Model(i, L.Conv2D(2, 1)(L.Cropping2D(1)(L.ZeroPadding2D(1)(L.concatenate([x, u]))))), [r(8, 8, 8, 3)]


def time_distributed():
    return M.Sequential(
        [
            L.TimeDistributed(L.Dense(4, activation="relu"), input_shape=(5, 6)),
            L.Permute((2, 1)),
            L.Reshape((5, 4)),
            L.Flatten(),
            L.RepeatVector(2),
        ]
    ), [r(8, 5, 6)]


def reshape_first():
    return M.Sequential(
        [
            L.Reshape((17, 6, 1), input_shape=(17, 6)),
            L.Conv2D(4, 3, activation="relu"),
            L.BatchNormalization(),
            L.Flatten(),
            L.Dense(2, activation="softmax"),
        ]
    ), [r(8, 17, 6)]


def fixed_batch():
    i = I(batch_shape=(4, 7)) if True else None
    return M.Model(i, L.Dense(2)(i)), [r(4, 7)]


def noise_reg():
    reg = (
        import_module((K.__name__ if which != "tf" else "tensorflow.keras") + ".regularizers") if which != "tf" else K.regularizers
    )
    con = K.constraints
    return M.Sequential(
        [
            L.GaussianNoise(0.1, input_shape=(9,)),
            L.Dense(6, kernel_regularizer=reg.l2(1e-3), kernel_constraint=con.max_norm(2.0), kernel_initializer="he_normal"),
            L.ActivityRegularization(l2=1e-4),
            L.Dense(2),
        ]
    ), [r(8, 9)]


def conv3d():
    i = I(shape=(6, 8, 8, 2))
    return M.Model(i, L.GlobalAveragePooling3D()(L.Conv3D(4, 3, activation="relu")(i))), [r(4, 6, 8, 8, 2)]


def convlstm():
    i = I(shape=(4, 8, 8, 2))
    return M.Model(i, L.GlobalAveragePooling2D()(L.ConvLSTM2D(3, 3, padding="same")(i))), [r(4, 4, 8, 8, 2)]


def locally_connected():
    return M.Sequential([L.LocallyConnected1D(3, 3, input_shape=(10, 4), activation="relu"), L.Flatten(), L.Dense(2)]), [
        r(8, 10, 4)
    ]


def lambda_layer():
    return M.Sequential([L.Lambda(lambda t: t * 2.0 + 1.0, input_shape=(5,)), L.Dense(2)]), [r(8, 5)]


def lambda_activation():
    act = lambda t: B.relu(t, alpha=0.1, max_value=20.0) if which != "keras1" else t
    i = I(shape=(5,))
    return M.Model(i, L.Dense(2)(L.Dense(8, activation=act)(i))), [r(8, 5)]


class Gain(L.Layer):
    def build(self, s):
        self.g = self.add_weight(name="g", shape=(int(s[-1]),), initializer="ones", trainable=True)
        super(Gain, self).build(s)

    def call(self, x):
        return x * self.g

    def compute_output_shape(self, s):
        return s


def custom_layer():
    return M.Sequential([L.Dense(4, input_shape=(5,)), Gain(), L.Dense(2)]), [r(8, 5)]


def custom_loss():
    m = M.Sequential([L.Dense(4, input_shape=(5,), activation="relu"), L.Dense(2)])

    def my_loss(a, b):
        return B.mean(B.square(a - b)) * 3

    m.compile("adam", loss=my_loss, metrics=["mae"])
    m.fit(r(32, 5), r(32, 2), verbose=0)
    return m, [r(8, 5)]


def slash_names():
    i = I(shape=(6,), name="in")
    x = L.Dense(4, name="block/dense")(i)
    return M.Model(i, L.Activation("relu", name="block/act")(x)), [r(8, 6)]


def op_lambda():
    i = I(shape=(6,))
    x = L.Dense(4)(i)
    return M.Model(i, tf.nn.relu6(x * 0.5 + 3.0) / 6.0 * x), [r(8, 6)]


def op_mix():
    i = I(shape=(8, 6))
    x = L.Dense(4)(i)
    x = tf.concat([x, tf.abs(x)], -1)
    x = tf.reduce_mean(x, axis=1)
    return M.Model(i, x[:, 1:5] - 1.0), [r(8, 8, 6)]


def grouped():
    i = I(shape=(8, 8, 6))
    return M.Model(i, L.Conv2D(9, 3, groups=3, activation="swish")(i)), [r(8, 8, 8, 6)]


def layernorm():
    return M.Sequential([L.Dense(8, input_shape=(5,)), L.LayerNormalization(epsilon=1e-5), L.Dense(3)]), [r(8, 5)]


def attention():
    i = I(shape=(7, 8))
    x = L.LayerNormalization()(i)
    x = L.Add()([i, L.MultiHeadAttention(2, 4)(x, x)])
    return M.Model(i, L.Dense(2)(L.GlobalAveragePooling1D()(x))), [r(8, 7, 8)]


def rescaling():
    R = getattr(L, "Rescaling", None) or L.experimental.preprocessing.Rescaling
    i = I(shape=(8, 8, 3))
    return M.Model(i, L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(R(1.0 / 255)(i)))), [np.abs(r(8, 8, 8, 3)) * 100]


def mixed_float16():
    (
        K.mixed_precision.set_global_policy
        if hasattr(K.mixed_precision, "set_global_policy")
        else K.mixed_precision.experimental.set_policy
    )("mixed_float16")
    try:
        i = I(shape=(8, 8, 3))
        x = L.BatchNormalization()(L.Conv2D(4, 3, activation="relu")(i))
        return M.Model(i, L.Dense(3, dtype="float32")(L.GlobalAveragePooling2D()(x))), [r(8, 8, 8, 3)]
    finally:
        (
            K.mixed_precision.set_global_policy
            if hasattr(K.mixed_precision, "set_global_policy")
            else K.mixed_precision.experimental.set_policy
        )("float32")


kinds = [
    mlp,
    cnn,
    depthwise,
    separable,
    transpose,
    conv1d,
    conv1d_any_length,
    lstm,
    gru,
    bidirectional,
    masking,
    embedding,
    nested,
    two_in_two_out,
    merges,
    shared,
    activations,
    upsample_concat,
    time_distributed,
    reshape_first,
    fixed_batch,
    noise_reg,
    conv3d,
    convlstm,
    locally_connected,
    lambda_layer,
    lambda_activation,
    custom_layer,
    custom_loss,
    slash_names,
]
if which == "tf":
    kinds += [op_lambda, op_mix, grouped, layernorm, attention, rescaling, mixed_float16]
done, failed = [], []
for f in kinds:
    try:
        B.clear_session()
        m, xs = f()
        if f is not custom_loss:
            randomize(m)
        ys = m.predict(xs if len(xs) > 1 else xs[0], batch_size=xs[0].shape[0])
        ys = ys if isinstance(ys, list) else [ys]
        m.save(os.path.join(out, f.__name__ + ".h5"))
        np.savez(
            os.path.join(out, f.__name__ + ".npz"),
            **dict([("x%d" % k, v) for k, v in enumerate(xs)] + [("y%d" % k, np.asarray(v, "float32")) for k, v in enumerate(ys)]),
        )
        if f is cnn:
            m.save_weights(os.path.join(out, "cnn_weights_only.h5"))
        done.append(f.__name__)
    except Exception as e:
        failed.append(f.__name__ + ": " + str(e).split("\n")[0][:110])
        for e_ in (".h5", ".npz"):
            p = os.path.join(out, f.__name__ + e_)
            if os.path.exists(p):
                os.remove(p)
print(writer, len(done), "written;", "not:", failed)
