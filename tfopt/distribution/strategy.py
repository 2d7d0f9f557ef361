"""`strategy()`: chooses the `tf.distribute` strategy for the devices and workers of this process, and repairs Keras 3 for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

from tfopt.distribution import cluster, scope, seeds
from tfopt.distribution.scope import SHARDING, Sharding
from tfopt.errors import ArgumentError

if TYPE_CHECKING:
    import tensorflow as tf

KINDS = ("auto", "tpu", "multi_worker", "mirrored", "one_device")
Kind = Literal["auto", "tpu", "multi_worker", "mirrored", "one_device"]
_LOGGER = logging.getLogger("tfopt")


def strategy(
    kind: Kind = "auto", *, logical_devices: int | None = None, sharding: Sharding | None = None
) -> tf.distribute.Strategy:
    """Chooses a `tf.distribute` strategy, logs the choice with its reason, and makes Keras 3 train under it.

    Each replica computes the gradient of its part of a batch, and the optimizer applies the sum over all parts:
    `batch of a replica = batch_size / strategy.num_replicas_in_sync`. `batch_size` of `fit` and of a `tf.data` pipeline counts the
    samples of all replicas together.

    Example:

    ```python
    strategy = tfopt.strategy()  # before anything else of TensorFlow
    with strategy.scope():
        model = build_model()
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x_train, y_train, batch_size=32 * strategy.num_replicas_in_sync)
    model.save("model.keras")  # on every worker: the chief writes it, the others do not
    ```

    A model belongs to the strategy in whose scope it was made, wherever `fit` is called later. Call functions of tfopt that return
    a new model (`quantize_aware`, `Distiller`) in the scope, too. Keras 3 is repaired on these models alone: see
    `tfopt/distribution/keras_repair.py`.

    The choice goes to the logger "tfopt" at level INFO. tfopt does not configure logging: `logging.basicConfig(level="INFO")` at
    the top of a program shows the choice.

    Args:
        kind: the kind of strategy. "auto" (default) chooses "tpu" if a TPU answers, else "multi_worker" if TF_CONFIG, Slurm or
            Kubernetes names several workers, else "mirrored" if there are several GPUs, else "one_device".
        logical_devices: None (default), or 1 or more: splits the CPU into this number of devices, for experiments. GPUs are then
            not used.
        sharding: how workers divide a `tf.data` pipeline whose own options do not say it. "data": each worker reads all data and
            keeps its part; "file": each worker reads its own files; "off": each worker takes everything that its own pipeline
            yields; "auto" or None (default): by file if there are enough files, else by data. Arrays are divided by data.

    Returns:
        The strategy. Its `num_replicas_in_sync` is the number of replicas.

    Raises:
        ArgumentError: `kind` or `sharding` is unknown, the devices do not exist, `TF_CONFIG` is invalid, or TensorFlow has started
            to compute.

    Source: https://www.tensorflow.org/guide/distributed_training
    """
    _check(kind, logical_devices, sharding)
    if logical_devices is not None:
        _split_cpu(logical_devices)
    made, reason, workers = _make(kind, logical_devices)
    scope.attach(made, workers, sharding)
    replicas = made.num_replicas_in_sync
    _LOGGER.info("%s, %d replica%s: %s", _public_name(made), replicas, "s" * (replicas != 1), reason)
    if workers is not None:
        agreed = seeds.agree(made, workers)
        if agreed is not None:
            _LOGGER.info("workers had different random seeds: all have %d now, as by keras.utils.set_random_seed", agreed)
    return made


def _check(kind: Kind, logical_devices: int | None, sharding: Sharding | None) -> None:
    if kind not in KINDS:
        raise ArgumentError(
            f"`kind` must be one of {', '.join(KINDS)}. Received: kind={kind!r}. Leave it out to choose by devices."
        )
    if sharding is not None and sharding not in SHARDING:
        raise ArgumentError(
            f"`sharding` must be None or one of {', '.join(SHARDING)}. Received: sharding={sharding!r}. Leave it out for 'auto'."
        )
    if logical_devices is None:
        return
    if not isinstance(logical_devices, int) or isinstance(logical_devices, bool) or logical_devices < 1:
        raise ArgumentError(
            f"`logical_devices` must be None or an integer of at least 1. Received: logical_devices={logical_devices!r}. "
            "Give the number of devices into which the CPU is split."
        )
    if kind in ("tpu", "multi_worker"):
        raise ArgumentError(
            f"`logical_devices` splits the CPU of one process, for kind='mirrored'. Received: kind={kind!r}. Leave one of them "
            "out; `tfopt launch -n 2` starts two workers on one machine."
        )


def _split_cpu(count: int) -> None:
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError as error:  # TensorFlow has started to compute
        if len(tf.config.list_logical_devices("CPU")) != count:
            raise ArgumentError(
                "`logical_devices` must be set before TensorFlow computes anything. Received: "
                f"logical_devices={count} with {len(tf.config.list_logical_devices('CPU'))} CPU devices in use. Call "
                "tfopt.strategy() at the top of the program."
            ) from error


def _make(kind: Kind, logical_devices: int | None) -> tuple[tf.distribute.Strategy, str, cluster.Workers | None]:
    """(strategy, the reason for it, its workers if it is a multi-worker strategy)."""
    import tensorflow as tf

    if logical_devices is not None:
        devices = [f"CPU:{index}" for index in range(logical_devices)]
        if kind == "one_device" or (kind == "auto" and logical_devices == 1):
            return tf.distribute.OneDeviceStrategy("CPU:0"), "one logical CPU", None
        return tf.distribute.MirroredStrategy(devices), f"the CPU is split into {logical_devices} devices", None
    reasons = []
    if kind in ("auto", "tpu"):
        found, reason = _find_tpu(named=kind == "tpu")
        if found is not None:
            return tf.distribute.TPUStrategy(found), reason, None
        reasons.append(reason)
    if kind in ("auto", "multi_worker"):
        workers, source = cluster.find_workers()
        if workers is not None:
            reason = f"{source} names {workers.count} workers, this is number {workers.index}"
            return _make_multi_worker(workers), reason, workers
        if kind == "multi_worker":
            raise ArgumentError(
                f"kind='multi_worker' needs several workers. Received: {source}. Start the program with `tfopt launch -n 2 "
                "train.py`, or set TF_CONFIG."
            )
        reasons.append(source)
    gpus = tf.config.list_physical_devices("GPU")
    if kind == "mirrored" or (kind == "auto" and len(gpus) > 1):
        reason = f"{len(gpus)} GPU{'s' * (len(gpus) != 1)}" if gpus else "requested, and there is no GPU: one CPU"
        return tf.distribute.MirroredStrategy(), reason, None
    if kind == "one_device":
        return tf.distribute.OneDeviceStrategy("GPU:0" if gpus else "CPU:0"), "requested", None
    reasons.append("one GPU" if gpus else "no GPU")
    return tf.distribute.OneDeviceStrategy("GPU:0" if gpus else "CPU:0"), "; ".join(reasons), None


def _public_name(made: tf.distribute.Strategy) -> str:
    """The name of the class in `tf.distribute`: the class of a MultiWorkerMirroredStrategy has another name of its own."""
    import tensorflow as tf

    names = (name for name in dir(tf.distribute) if getattr(tf.distribute, name) is type(made))
    return next(names, type(made).__name__)


def _make_multi_worker(workers: cluster.Workers) -> tf.distribute.MultiWorkerMirroredStrategy:
    import tensorflow as tf

    try:
        return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=workers.resolver)
    except RuntimeError as error:
        if "program startup" not in str(error):
            raise
        raise ArgumentError(
            "a multi-worker strategy must be made before TensorFlow computes anything. Received: a program that has already made a "
            "tensor, a variable or a model. Call tfopt.strategy() at the top of the program."
        ) from error


def _find_tpu(named: bool) -> tuple[tf.distribute.cluster_resolver.TPUClusterResolver | None, str]:
    """(connected resolver or None, the reason); an error instead of None if the caller has named the kind "tpu"."""
    import tensorflow as tf

    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
    except (ValueError, RuntimeError, ImportError) as error:  # no name, no metadata server, no client
        if not tf.config.list_physical_devices("TPU"):
            if named:
                raise ArgumentError(
                    f"kind='tpu' needs a TPU. Received: no TPU; TensorFlow says: {error} Set TPU_NAME, or use a machine with a TPU."
                ) from error
            return None, "no TPU"
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver("local")
    try:
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0]  # more is about operations that nobody wrote
        if named:
            raise ArgumentError(
                f"kind='tpu' needs a TPU that answers. Received: {reason}. Check TPU_NAME, or leave out kind='tpu'."
            ) from error
        return None, f"no TPU answers: {reason}"
    return resolver, "a TPU answers"
