"""Nets that go on step by step: their states are inputs and outputs, and stay near those of the model."""

import numpy as np
import pytest
from seeded_models import KERAS, measure, seeded, specs_of, to_int8

from tfopt.lowering.trace import trace_model
from tfopt.tflite.interpreter import Interpreter

STATES = {"LSTM": 2, "ConvLSTM1D": 2}  # number of state tensors, if there are several


def _streaming(*kinds):
    """Function of Keras that builds a net of recurrent layers whose states are further inputs and outputs."""

    def build(k):
        is_image = "ConvLSTM1D" in kinds
        frame = outputs = k.Input((1, 6, 2) if is_image else (1, 4), name="frame")
        inputs, states = [frame], []
        for index, kind in enumerate(kinds):
            given = [k.Input((6, 3) if is_image else (8,), name=f"state_{index}_{n}") for n in range(STATES.get(kind, 1))]
            options = {"return_sequences": True, "return_state": True}
            if kind == "ConvLSTM1D":
                layer = k.layers.ConvLSTM1D(3, 3, padding="same", **options)
            else:
                layer = getattr(k.layers, kind)(8, **options)
            outputs, *new = layer(outputs, initial_state=given if len(given) > 1 else given[0])  # one tensor or a list, as users do
            inputs, states = inputs + given, states + new
        return k.Model(inputs, [k.layers.Dense(3)(outputs), *states])

    return build


def plain(build, kind):
    """The model that `build` makes, with the weights that Keras gives it."""
    KERAS[kind].utils.set_random_seed(0)
    return build(KERAS[kind])


def _frames(shape, count, seed):
    steps = np.random.default_rng(seed).normal(0, 0.3, (count, *shape))
    return (0.2 * np.cumsum(steps, axis=0)).astype("float32")


def _run(step, specs, frames):
    """(inputs by name, outputs) of all steps, where each begins with the states of the one before."""
    states = [np.zeros(spec.shape, "float32") for spec in specs[1:]]
    rows, outputs = [], []
    for frame in frames:
        given = {spec.name: array for spec, array in zip(specs, [frame[None], *states], strict=True)}
        output, *states = step(given)
        rows.append(given)
        outputs.append(output)
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}, np.concatenate(outputs)


@pytest.mark.parametrize("kind", list(KERAS))
@pytest.mark.parametrize("kinds", [("LSTM",), ("GRU",), ("SimpleRNN",), ("ConvLSTM1D",), ("LSTM", "GRU")], ids="+".join)
def test_fifty_steps_stay_near_the_model(kinds, kind, request):
    if (kinds, kind) == (("GRU",), "keras2"):
        request.applymarker(pytest.mark.xfail(reason="14.5 dB: each step rounds the state, and rounds it again as an input"))
    # A GRU that was shaken opens its gates so little that a step changes the state by less than int8 can tell.
    model = plain(_streaming(*kinds), kind) if kinds == ("GRU",) else seeded(_streaming(*kinds), kind)
    specs = specs_of(model)
    traced = trace_model(model, specs)
    runs = [_run(traced, specs, _frames(specs[0].shape[1:], 50, seed))[0] for seed in range(4)]
    data = {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}
    content = to_int8(model, data=data)
    assert not measure(model, content, data=data)[0]
    frames = _frames(specs[0].shape[1:], 50, seed=9)
    _, wanted = _run(traced, specs, frames)
    _, found = _run(Interpreter(content).run, specs, frames)
    decibel = 10 * np.log10((wanted.astype(float) ** 2).sum() / ((wanted.astype(float) - found) ** 2).sum())
    print("SQNR", round(decibel, 1))
    assert decibel >= 15.0
