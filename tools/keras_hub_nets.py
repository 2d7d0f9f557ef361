"""Small nets of KerasHub with random weights: one function for each, and data for its inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import keras_hub
import numpy as np
import numpy.typing as npt
from keras_hub_composed import COMPOSED, SIZE, STEPS, WORDS, resnet, vit

models = keras_hub.models
Net = Callable[[], keras.Model]

_TEXT = {"vocabulary_size": WORDS, "num_layers": 2, "hidden_dim": 16, "intermediate_dim": 32}
_HEADS = {**_TEXT, "num_heads": 2}
_GROUPED = {**_TEXT, "num_query_heads": 4, "num_key_value_heads": 2}
_LENGTH = {"max_sequence_length": STEPS}
_IMAGE = {"image_shape": (SIZE, SIZE, 3)}
_TRANSFORMER = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, **_IMAGE}
_EXPERTS = {"num_experts": 4, "top_k": 2}
_GEMMA2 = {
    f"{side}_{key}": value
    for side in ("encoder", "decoder")
    for key, value in {
        "hidden_dim": 16, "intermediate_dim": 32, "num_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 8, "layer_types": ["full_attention", "sliding_attention"],
    }.items()
}  # fmt: skip
_SMOL = {
    **_TEXT, "num_attention_heads": 4, "num_key_value_heads": 2, "attention_bias": False, "attention_dropout": 0.0,
    "rope_layer_enabled_list": [True, False], "layer_types": ["full_attention", "full_attention"], "mlp_bias": False,
    "layer_norm_epsilon": 1e-5, "max_position_embeddings": STEPS, "rope_theta": 10000.0, "partial_rotary_factor": 1.0,
}  # fmt: skip
_QWEN35 = {
    **_GROUPED, "head_dim": 8, "layer_types": ["linear_attention", "full_attention"], "linear_num_key_heads": 2,
    "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
}  # fmt: skip


def _mit() -> keras.Model:
    return models.MiTBackbone(
        layerwise_depths=[1, 1], num_layers=2, layerwise_num_heads=[1, 2], layerwise_sr_ratios=[2, 1], max_drop_path_rate=0.0,
        layerwise_patch_sizes=[7, 3], layerwise_strides=[4, 2], hidden_dims=[8, 16], **_IMAGE,
    )  # fmt: skip


def _mit4() -> keras.Model:
    return models.MiTBackbone(
        layerwise_depths=[1, 1, 1, 1], num_layers=4, layerwise_num_heads=[1, 1, 2, 2], layerwise_sr_ratios=[8, 4, 2, 1],
        max_drop_path_rate=0.0, layerwise_patch_sizes=[7, 3, 3, 3], layerwise_strides=[4, 2, 2, 2], hidden_dims=[8, 12, 16, 24],
        image_shape=(64, 64, 3),
    )  # fmt: skip


def _deeplab() -> keras.Model:
    encoder = resnet((64, 64, 3), 4)
    return models.DeepLabV3Backbone(
        image_encoder=encoder, spatial_pyramid_pooling_key="P4", upsampling_size=4, dilation_rates=[2, 4],
        low_level_feature_key="P2", projection_filters=8, image_shape=(64, 64, 3),
    )  # fmt: skip


def _mobilenet() -> keras.Model:
    return models.MobileNetBackbone(
        stackwise_expansion=[[8], [16, 16]], stackwise_num_blocks=[1, 2], stackwise_num_filters=[[8], [8, 8]],
        stackwise_kernel_size=[[3], [3, 5]], stackwise_num_strides=[[2], [2, 1]], stackwise_se_ratio=[[0.25], [None, 0.25]],
        stackwise_activation=[["relu"], ["relu", "hard_swish"]], stackwise_padding=[[1], [1, 2]], output_num_filters=16,
        depthwise_filters=8, depthwise_stride=1, depthwise_residual=False, last_layer_filter=16, input_num_filters=8, **_IMAGE,
    )  # fmt: skip


def _efficientnet() -> keras.Model:
    return models.EfficientNetBackbone(
        stackwise_width_coefficients=[1.0] * 2, stackwise_depth_coefficients=[1.0] * 2, stackwise_kernel_sizes=[3, 3],
        stackwise_num_repeats=[1, 2], stackwise_input_filters=[8, 8], stackwise_output_filters=[8, 16],
        stackwise_expansion_ratios=[1, 4], stackwise_squeeze_and_excite_ratios=[0.25, 0.25], stackwise_strides=[1, 2],
        stackwise_block_types=["v1", "v1"], input_shape=(SIZE, SIZE, 3), num_features=32,
    )  # fmt: skip


def _hgnet() -> keras.Model:
    return models.HGNetV2Backbone(
        depths=[1, 1], embedding_size=8, hidden_sizes=[8, 16], stem_channels=[3, 8, 8], hidden_act="relu",
        use_learnable_affine_block=True, stackwise_stage_filters=[[8, 8, 8, 1, 2, 3], [8, 8, 16, 1, 2, 3]],
        apply_downsample=[False, True], use_lightweight_conv_block=[False, True], **_IMAGE,
    )  # fmt: skip


def _cspnet() -> keras.Model:
    return models.CSPNetBackbone(
        stem_filters=8, stem_kernel_size=3, stem_strides=2, stackwise_depth=[1, 1], stackwise_strides=[1, 2],
        stackwise_num_filters=[8, 16], block_type="dark_block", stage_type="dark", **_IMAGE,
    )  # fmt: skip


def _vitdet() -> keras.Model:
    return models.ViTDetBackbone(
        hidden_size=16, num_layers=2, intermediate_dim=32, num_heads=2, global_attention_layer_indices=[1], patch_size=8,
        num_output_channels=8, window_size=2, **_IMAGE,
    )  # fmt: skip


def _dinov2(**more: Any) -> keras.Model:
    return models.DINOV2Backbone(
        patch_size=8, intermediate_dim=32, use_mask_token=False, position_embedding_shape=(SIZE, SIZE, 3), **_TRANSFORMER, **more
    )


def _depth_anything() -> keras.Model:
    return models.DepthAnythingBackbone(
        image_encoder=_dinov2(apply_layernorm=True), reassemble_factors=[2, 1], neck_hidden_dims=[8, 8], fusion_hidden_dim=8,
        head_hidden_dim=8, head_in_index=-1, feature_keys=["stage1", "stage2"],
    )  # fmt: skip


def _whisper() -> keras.Model:
    return models.WhisperBackbone(**_HEADS, num_mels=8, max_encoder_sequence_length=2 * STEPS, max_decoder_sequence_length=STEPS)


def _moonshine() -> keras.Model:
    return models.MoonshineBackbone(
        vocabulary_size=WORDS, filter_dim=16, encoder_num_layers=1, decoder_num_layers=1, hidden_dim=16, intermediate_dim=32,
        encoder_num_heads=2, decoder_num_heads=2,
    )  # fmt: skip


BACKBONES: dict[str, Net] = {
    "Albert": lambda: models.AlbertBackbone(**_HEADS, embedding_dim=8, **_LENGTH),
    "Bart": lambda: models.BartBackbone(**_HEADS, **_LENGTH),
    "Bert": lambda: models.BertBackbone(**_HEADS, **_LENGTH),
    "Bloom": lambda: models.BloomBackbone(**_HEADS),
    "CSPNet": _cspnet,
    "DINOV2": _dinov2,
    "DINOV3": lambda: models.DINOV3Backbone(patch_size=8, intermediate_dim=32, use_mask_token=False, **_TRANSFORMER),
    "DebertaV3": lambda: models.DebertaV3Backbone(**_HEADS, **_LENGTH, bucket_size=4),
    "DeepLabV3": _deeplab,
    "DeiT": lambda: models.DeiTBackbone(patch_size=8, intermediate_dim=32, **_TRANSFORMER),
    "DenseNet": lambda: models.DenseNetBackbone(stackwise_num_repeats=[2, 2], growth_rate=8, **_IMAGE),
    "DepthAnything": _depth_anything,
    "DistilBert": lambda: models.DistilBertBackbone(**_HEADS, **_LENGTH),
    "ESM2": lambda: models.ESM2Backbone(**_HEADS, **_LENGTH),
    "EfficientNet": _efficientnet,
    "Electra": lambda: models.ElectraBackbone(
        vocab_size=WORDS, num_layers=2, num_heads=2, hidden_dim=16, embedding_dim=8, intermediate_dim=32, **_LENGTH
    ),
    "FNet": lambda: models.FNetBackbone(**_TEXT, **_LENGTH),
    "Falcon": lambda: models.FalconBackbone(**_TEXT, num_attention_heads=2),
    "GPT2": lambda: models.GPT2Backbone(**_HEADS, **_LENGTH),
    "GPTNeoX": lambda: models.GPTNeoXBackbone(**_HEADS, **_LENGTH),
    "Gemma": lambda: models.GemmaBackbone(**_GROUPED, head_dim=8),
    "Gemma3": lambda: models.Gemma3Backbone(**_GROUPED, head_dim=8, image_size=None),
    "GptOss": lambda: models.GptOssBackbone(**_GROUPED, **_EXPERTS),
    "HGNetV2": _hgnet,
    "Llama": lambda: models.LlamaBackbone(**_GROUPED),
    "Llama3": lambda: models.Llama3Backbone(**_GROUPED),
    "MiT": _mit,
    "Mistral": lambda: models.MistralBackbone(**_GROUPED),
    "Mixtral": lambda: models.MixtralBackbone(**_GROUPED, **_EXPERTS),
    "MobileNet": _mobilenet,
    "Moonshine": _moonshine,
    "OPT": lambda: models.OPTBackbone(**_HEADS, **_LENGTH),
    "Phi3": lambda: models.Phi3Backbone(**_GROUPED, **_LENGTH),
    "Qwen": lambda: models.QwenBackbone(**_GROUPED),
    "Qwen2": lambda: models.Qwen2Backbone(**_GROUPED),
    "Qwen3": lambda: models.Qwen3Backbone(**_GROUPED, head_dim=8),
    "Qwen3Moe": lambda: models.Qwen3MoeBackbone(**_GROUPED, **_EXPERTS, moe_intermediate_dim=16),
    "Qwen3_5": lambda: models.Qwen3_5Backbone(**_QWEN35),
    "QwenMoe": lambda: models.QwenMoeBackbone(**_GROUPED, **_EXPERTS, moe_intermediate_dim=16, shared_expert_intermediate_dim=16),
    "RWKV7": lambda: models.RWKV7Backbone(hidden_size=16, head_size=8, num_layers=2, vocabulary_size=WORDS, intermediate_dim=32),
    "ResNet": lambda: resnet(_IMAGE["image_shape"]),
    "RetinaNet": lambda: models.RetinaNetBackbone(
        image_encoder=resnet((64, 64, 3), 4), min_level=3, max_level=5, use_p5=True, image_shape=(64, 64, 3)
    ),
    "Roberta": lambda: models.RobertaBackbone(**_HEADS, **_LENGTH),
    "RoformerV2": lambda: models.RoformerV2Backbone(**_HEADS, head_size=8),
    "SegFormer": lambda: models.SegFormerBackbone(image_encoder=_mit4(), projection_filters=16),
    "SmolLM3": lambda: models.SmolLM3Backbone(**_SMOL),
    "SwinTransformer": lambda: models.SwinTransformerBackbone(
        embed_dim=8, depths=[2, 2], num_heads=[1, 2], window_size=4, patch_size=4, drop_path=0.0, **_IMAGE
    ),
    "T5": lambda: models.T5Backbone(**_HEADS),
    "T5Gemma": lambda: models.T5GemmaBackbone(vocabulary_size=WORDS, **_GEMMA2, sliding_window=4),
    "VGG": lambda: models.VGGBackbone(stackwise_num_repeats=[1, 1], stackwise_num_filters=[8, 16], **_IMAGE),
    "ViT": vit,
    "ViTDet": _vitdet,
    "Whisper": _whisper,
    "XLMRoberta": lambda: models.XLMRobertaBackbone(**_HEADS, **_LENGTH),
    "XLNet": lambda: models.XLNetBackbone(**_HEADS),
    "Xception": lambda: models.XceptionBackbone(
        stackwise_conv_filters=[[8, 8], [16, 16]], stackwise_pooling=[True, False], **_IMAGE
    ),
}

TASKS: dict[str, Net] = {
    "BertTextClassifier": lambda: models.BertTextClassifier(BACKBONES["Bert"](), num_classes=3),
    "BertMaskedLM": lambda: models.BertMaskedLM(BACKBONES["Bert"]()),
    "GPT2CausalLM": lambda: models.GPT2CausalLM(BACKBONES["GPT2"]()),
    "BartSeq2SeqLM": lambda: models.BartSeq2SeqLM(BACKBONES["Bart"]()),
    "MoonshineAudioToText": lambda: models.MoonshineAudioToText(_moonshine()),
    "ViTImageClassifier": lambda: models.ViTImageClassifier(vit(), num_classes=3),
    "ResNetImageClassifier": lambda: models.ResNetImageClassifier(resnet(_IMAGE["image_shape"]), num_classes=3),
    "SegFormerImageSegmenter": lambda: models.SegFormerImageSegmenter(BACKBONES["SegFormer"](), num_classes=2),
    "DeepLabV3ImageSegmenter": lambda: models.DeepLabV3ImageSegmenter(_deeplab(), num_classes=2),
    "RetinaNetObjectDetector": lambda: models.RetinaNetObjectDetector(
        BACKBONES["RetinaNet"](), num_classes=2, bounding_box_format="xyxy"
    ),
    "DepthAnythingDepthEstimator": lambda: models.DepthAnythingDepthEstimator(_depth_anything(), depth_estimation_type="relative"),
}  # fmt: skip

NETS: dict[str, Net] = {**BACKBONES, **COMPOSED, **TASKS}

LEFT_OUT = {
    "Backbone": "the class that all others derive from",
    "FeaturePyramidBackbone": "the class that image encoders derive from",
    "SAM3PromptableConceptBackbone": "KerasHub 0.32 raises InvalidArgumentError in SAM3Attention for an image with one box",
    "StableDiffusion3Backbone": "KerasHub 0.32 cannot compute it as a graph: its scheduler loops as often as an input says",
}
"""Names that end in `Backbone` in `keras_hub.models` and are none of `NETS` -> the reason."""


def missing() -> list[str]:
    """The classes of backbones that KerasHub exports and that no net is made of; a class of two names counts once."""
    names = [name for name in dir(models) if name.endswith("Backbone") and name not in LEFT_OUT]
    covered = {getattr(models, f"{name}Backbone", None) for name in NETS}
    return [name for name in names if getattr(models, name) not in covered]


_PROMPTS: dict[str, tuple[tuple[int, ...], float, float]] = {  # shape of a sample, lowest and highest value
    "points": ((1, 2), 0, SIZE), "labels": ((1,), 0, 1), "boxes": ((1, 2, 2), 0, SIZE), "masks": ((1, 16, 16, 1), -1, 1),
    "timesteps": ((), 0, 1),
}  # fmt: skip


def build(name: str, seed: int = 0) -> keras.Model:
    """One of `NETS`, with trainable weights as training leaves them: none is equal to another, and none is zero or one throughout.

    The layers of KerasHub share initializers that begin with the same seed, so that the kernels of a key and of a value are equal.
    The values of each weight get a random order, and normal noise: 0.2 in a vector, and in others less with the root of the number
    of inputs of an output.

    Args:
        name: a key of `NETS`.
        seed: of the initializers, the order and the noise.
    """
    keras.utils.set_random_seed(seed)
    model = NETS[name]()
    random = np.random.default_rng(seed)
    for weight in model.trainable_variables:
        noise = random.normal(scale=0.2 / math.sqrt(math.prod(weight.shape[:-1])), size=tuple(weight.shape))
        weight.assign(random.permutation(np.array(weight).reshape(-1)).reshape(noise.shape) + noise)
    return model


def draw(model: keras.Model, count: int, seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    """Data for each input of a net: ids below `WORDS`, masks of texts of different length, images and sounds of normal values.

    Args:
        model: one of `NETS`.
        count: number of samples.
        seed: of the random numbers.
    """
    random = np.random.default_rng(seed)
    inputs: Mapping[str, Any] = model.input if isinstance(model.input, dict) else {each.name: each for each in model.inputs}
    found = {}
    for name, tensor in inputs.items():
        shape = (count, *(STEPS if size is None else size for size in tensor.shape[1:]))
        if name in _PROMPTS:
            shape, low, high = (count, *_PROMPTS[name][0]), *_PROMPTS[name][1:]
            found[name] = random.uniform(low, high, shape).round(0 if "label" in name or "int" in tensor.dtype else 6)
        elif name == "audio" or (name == "encoder_input_values" and len(shape) == 3):
            found[name] = random.normal(size=(count, 4096, 1))
        elif "mask" in name and "positions" not in name:
            lengths = random.integers(shape[1] // 2, shape[1] + 1, count)
            values = np.arange(shape[1])[None] < lengths[:, None]
            found[name] = np.broadcast_to(values.reshape(count, shape[1], *[1] * (len(shape) - 2)), shape)
        elif name == "position_ids":
            found[name] = np.broadcast_to(np.arange(shape[1]), shape)
        elif name == "segment_ids":
            found[name] = random.integers(0, 2, shape)
        elif "int" in tensor.dtype or "ids" in name:
            found[name] = random.integers(1, STEPS if "positions" in name else WORDS, shape)
        else:
            found[name] = random.normal(size=shape)
        found[name] = found[name].astype(tensor.dtype)
    return found
