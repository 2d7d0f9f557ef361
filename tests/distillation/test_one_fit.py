"""Pruning, quantization-aware training and distillation in one `fit`, down to the int8 file."""

import keras
import numpy as np
import pytest
from keras import layers

import tfopt


def net(channels, name):
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(channels, 3, padding="same", use_bias=False, name="conv1")(image)
    x = layers.ReLU(name="relu1")(layers.BatchNormalization(name="norm1")(x))
    x = layers.Conv2D(2 * channels, 3, padding="same", strides=2, use_bias=False, name="conv2")(x)
    x = layers.ReLU(name="relu2")(layers.BatchNormalization(name="norm2")(x))
    return keras.Model(image, layers.Dense(10, name="digit")(layers.Flatten(name="flatten")(x)), name=name)


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(digits):
    """(history, quantization-aware student, projector, student before) of a fit on digits."""
    keras.utils.set_random_seed(0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    teacher, student = net(16, "teacher"), net(8, "student")
    for model in (teacher, student):
        model.compile(keras.optimizers.Adam(5e-3), loss, jit_compile=False)
        model.fit(*digits[0], batch_size=64, epochs=5, verbose=0)
    qat = tfopt.quantize_aware(student)
    losses = [tfopt.LogitsDistillation(4.0), tfopt.FeatureDistillation("relu2", "relu2")]
    distiller = tfopt.Distiller(student=qat, teacher=teacher, distillation_losses=losses, cache="memory")
    distiller.compile(keras.optimizers.Adam(2e-3), loss, metrics=["accuracy"], jit_compile=False)
    evaluation = tfopt.Int8Evaluation(digits[1], validation_freq=3)
    callbacks = [tfopt.PruningCallback(tfopt.PolynomialDecay(0.8, end=0.5), scope="global"), evaluation]
    history = distiller.fit(*digits[0], batch_size=64, epochs=6, verbose=0, callbacks=callbacks).history
    accuracy = distiller.evaluate(*digits[1], verbose=0, return_dict=True)["accuracy"]
    return history, distiller.student, distiller.projectors[0], accuracy


def test_sparsity_is_exact_in_the_model_and_in_the_file(trained, tmp_path):
    history, student, projector, _ = trained
    pruned = [weight for weight in tfopt.sparsity_report(student).weights if "conv" in weight.name]
    total = sum(weight.parameters for weight in pruned)
    assert len(pruned) == 2 and abs(sum(weight.zeros for weight in pruned) - 0.8 * total) <= 1
    (output,) = (weight for weight in tfopt.sparsity_report(student).weights if "digit" in weight.name)
    assert output.zeros == 0
    assert history["sparsity"][-1] == pytest.approx(0.8, abs=1 / total)
    assert np.count_nonzero(projector.kernel.numpy()) == projector.kernel.shape[-1] * projector.kernel.shape[-2]  # is not pruned
    tfopt.convert(student).save(tmp_path / "student.tflite")
    stored = [each for each in tfopt.inspect(tmp_path / "student.tflite").tensors if each.zeros is not None]
    for layer in tfopt.strip_quantization(student).layers:
        if hasattr(layer, "kernel"):
            kernel = layer.kernel.numpy()
            assert (kernel.size, int((kernel == 0).sum())) in [(int(np.prod(each.shape)), each.zeros) for each in stored]


def test_the_file_is_what_was_trained(trained, digits):
    history, student, _, accuracy = trained
    check = tfopt.convert(student, validation_data=digits[1]).check
    assert check.passed and not check.structure.float_ops, check.reasons
    assert check.outputs[0].most_error_lsb <= 2 and check.outputs[0].agreement >= 0.995
    assert check.accuracy > 0.9 and abs(check.accuracy - accuracy) <= 0.01
    assert history["val_int8_accuracy"][-1] == pytest.approx(check.accuracy)
