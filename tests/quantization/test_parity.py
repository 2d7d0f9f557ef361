"""The int8 file computes what was trained: nets of many kinds against their quantization-aware model, on 1,000 inputs."""

import keras
import numpy as np
import pytest
from quantized_layers import float_ops, parity, to_int8
from whole_nets import APPROXIMATE, NETS, SEQUENCES, build

import tfopt


@pytest.fixture(scope="module")
def enlarged():
    """Digits with a border and a little noise, (1797, 12, 12, 1) in [0, 1.05], and their labels."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    generator = np.random.default_rng(0)
    order = generator.permutation(len(images))
    images = np.pad(images[order].reshape(-1, 8, 8) / 16, ((0, 0), (2, 2), (2, 2)))
    return (images + 0.05 * generator.random(images.shape)).astype("float32")[..., None], labels[order]


LARGE = ("efficientnet", "mobilenet_v2", "mobilenet_v3", "resnet", "transformer", "u_net")


@pytest.mark.parametrize(
    ("name", "end"),
    [
        *(pytest.param(name, None, marks=pytest.mark.slow if name in LARGE else []) for name in NETS),
        ("plain", "softmax"),
        pytest.param("conv1d", "softmax", marks=pytest.mark.slow),
    ],
)
def test_file_agrees_with_the_model_that_was_trained(enlarged, name, end):
    images, labels = enlarged
    images = images[..., 0] if name in SEQUENCES else images
    qat = tfopt.quantize_aware(build(name, end))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=end is None)
    qat.compile(keras.optimizers.Adam(5e-3), loss, jit_compile=False)
    qat.optimizer.build(qat.trainable_variables)  # otherwise the first step builds it, and TensorFlow traces the step twice
    qat.fit(images[:797], labels[:797], batch_size=64, epochs=4, verbose=0)
    interpreter = to_int8(qat, images[:200] if name in APPROXIMATE else None)
    assert not float_ops(interpreter)
    numbers = parity(qat, interpreter, images[797:])[0]
    if name in APPROXIMATE:
        assert numbers.sqnr >= 30 and numbers.agreement >= 0.98, numbers
    else:
        assert numbers.most_error_lsb <= 2 and numbers.agreement >= 0.995, numbers
