"""The student of a distiller is what is shipped."""

import keras

import tfopt
from tfopt.keras_model.shipped import shipped_model


def test_student_and_model():
    student, teacher = (keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]) for _ in range(2))
    assert shipped_model(student) is student
    assert shipped_model(tfopt.Distiller(student=student, teacher=teacher)) is student
