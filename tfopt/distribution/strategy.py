"""`strategy()`: the tf.distribute strategy that fits what this process may use, with Keras 3 repaired for it."""

import logging

from tfopt.distribution import cluster, scope, seeds
from tfopt.errors import ArgumentError

KINDS = ("auto", "tpu", "multi_worker", "mirrored", "one_device")
SHARDING = ("auto", "data", "file", "off")
_LOGGER = logging.getLogger("tfopt")


def strategy(kind="auto", *, logical_devices=None, sharding=None):
    """Chooses a `tf.distribute` strategy, says which and why, and makes Keras 3 train under it.

    Each replica computes the gradient of its part of a batch, and the optimizer applies the sum of all parts:
    `batch of a replica = batch_size / strategy.num_replicas_in_sync`. `batch_size` of `fit` and of a `tf.data` pipeline is that of
    all replicas together.

    Example:

    ```python
    strategy = tfopt.strategy()  # before anything else of TensorFlow
    with strategy.scope():
        model = build_model()
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x_train, y_train, batch_size=32 * strategy.num_replicas_in_sync)
    model.save("model.keras")  # on every worker: the chief writes it, the others do not
    ```

    A model belongs to the strategy in whose scope it was made, wherever `fit` is called later; functions of tfopt that return a new
    model (`quantize_aware`, `Distiller`) belong into the scope too. What Keras 3 lacks for it is repaired on these
    models alone: see `tfopt/distribution/keras_repair.py`.

    Args:
        kind: "auto": "tpu" where a TPU answers, "multi_worker" where TF_CONFIG, Slurm or Kubernetes names several workers,
            "mirrored" for several GPUs, else "one_device"; or one of these names.
        logical_devices: None, or int >= 1: splits the CPU into so many devices, to try things out; GPUs are then left alone.
        sharding: how workers divide a `tf.data` pipeline whose own options do not say it: "data": each reads all and keeps its
            part; "file": each reads files of its own; "off": each takes all that its own pipeline yields; "auto", as None: by file
            if there are enough files, else by data. Arrays are divided by data.

    Returns:
        A `tf.distribute.Strategy`.

    Raises:
        ArgumentError: an unknown name, no such devices, a wrong `TF_CONFIG`, or TensorFlow has begun to compute.

    Source: https://www.tensorflow.org/guide/distributed_training
    """
    _check(kind, logical_devices, sharding)
    import tensorflow as tf

    if logical_devices is not None:
        _split_cpu(tf, logical_devices)
    made, why = _make(tf, kind, logical_devices)
    workers = why if isinstance(why, cluster.Workers) else None
    if workers is not None:
        why = f"{workers.source} names {workers.count} workers, this is number {workers.index}"
    scope.attach(made, workers, sharding)
    replicas = made.num_replicas_in_sync
    _say(f"{type(made).__name__}, {replicas} replica{'s' * (replicas != 1)}: {why}")
    if workers is not None:
        agreed = seeds.agree(made, workers)
        if agreed is not None:
            _say(f"workers began with different random numbers: keras.utils.set_random_seed({agreed}) on all of them")
    return made


def _check(kind, logical_devices, sharding):
    if kind not in KINDS:
        raise ArgumentError(f"`kind` must be one of {', '.join(KINDS)}. Received: kind={kind!r}.")
    if sharding is not None and sharding not in SHARDING:
        raise ArgumentError(f"`sharding` must be None or one of {', '.join(SHARDING)}. Received: sharding={sharding!r}.")
    if logical_devices is None:
        return
    if not isinstance(logical_devices, int) or isinstance(logical_devices, bool) or logical_devices < 1:
        raise ArgumentError(f"`logical_devices` must be an integer of at least 1. Received: logical_devices={logical_devices!r}.")
    if kind in ("tpu", "multi_worker"):
        raise ArgumentError(
            f"`logical_devices` splits the CPU of one process, for kind='mirrored'. Received: kind={kind!r}. Leave one of them "
            "out; `tfopt launch -n 2` starts two workers on one machine."
        )


def _split_cpu(tf, count):
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError as error:  # TensorFlow has begun to compute
        if len(tf.config.list_logical_devices("CPU")) != count:
            raise ArgumentError(
                "`logical_devices` must be set before TensorFlow computes anything. Received: "
                f"logical_devices={count} with {len(tf.config.list_logical_devices('CPU'))} CPU devices in use. Call "
                "tfopt.strategy() at the top of the program."
            ) from error


def _make(tf, kind, logical_devices):
    """(strategy, why or `Workers`)."""
    if logical_devices is not None:
        devices = [f"CPU:{index}" for index in range(logical_devices)]
        if kind == "one_device" or (kind == "auto" and logical_devices == 1):
            return tf.distribute.OneDeviceStrategy("CPU:0"), "one logical CPU"
        return tf.distribute.MirroredStrategy(devices), f"the CPU is split into {logical_devices}"
    reasons = []
    if kind in ("auto", "tpu"):
        found, reason = _find_tpu(tf, named=kind == "tpu")
        if found is not None:
            return tf.distribute.TPUStrategy(found), reason
        reasons.append(reason)
    if kind in ("auto", "multi_worker"):
        workers, reason = cluster.find_workers()
        if workers is not None:
            return _make_multi_worker(tf, workers), workers
        if kind == "multi_worker":
            raise ArgumentError(
                f"kind='multi_worker' needs several workers. Received: {reason}. Start the program with `tfopt launch -n 2 "
                "train.py`, or set TF_CONFIG."
            )
        reasons.append(reason)
    gpus = tf.config.list_physical_devices("GPU")
    if kind == "mirrored" or (kind == "auto" and len(gpus) > 1):
        return tf.distribute.MirroredStrategy(), f"{len(gpus)} GPUs" if gpus else "asked for, and there is no GPU: one CPU"
    if kind == "one_device":
        return tf.distribute.OneDeviceStrategy("GPU:0" if gpus else "CPU:0"), "asked for"
    reasons.append("one GPU" if gpus else "no GPU")
    return tf.distribute.OneDeviceStrategy("GPU:0" if gpus else "CPU:0"), "; ".join(reasons)


def _make_multi_worker(tf, workers):
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=workers.resolver)
    except RuntimeError as error:
        if "program startup" not in str(error):
            raise
        raise ArgumentError(
            "a multi-worker strategy must be made before TensorFlow computes anything. Received: a program that made a tensor, a "
            "variable or a model before. Call tfopt.strategy() at its top."
        ) from error


def _find_tpu(tf, named):
    """(connected resolver or None, why)."""
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
    except (ValueError, RuntimeError, ImportError) as error:  # no name, no metadata server, no client
        if not tf.config.list_physical_devices("TPU"):
            if named:
                raise ArgumentError(
                    f"kind='tpu' needs a TPU. Received: none, TensorFlow says: {error} Set TPU_NAME, or use a machine with a TPU."
                ) from error
            return None, "no TPU"
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver("local")
    try:
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        if named:
            raise ArgumentError(f"kind='tpu' needs a TPU that answers. Received: {reason}") from error
        return None, f"no TPU answers: {reason}"
    return resolver, "a TPU answers"


def _say(line):
    """To the log "tfopt": on stderr, unless the program has configured it."""
    if not _LOGGER.isEnabledFor(logging.INFO) and _LOGGER.level == logging.NOTSET:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("tfopt: %(message)s"))
        _LOGGER.addHandler(handler)
        _LOGGER.setLevel(logging.INFO)
        _LOGGER.propagate = False
    _LOGGER.info(line)
