"""Small nets of KerasHub that are made of several nets: an image and a text encoder, a detector around a backbone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import keras_hub

models = keras_hub.models
Net = Callable[[], keras.Model]

WORDS, STEPS, SIZE = 50, 8, 32  # vocabulary, length of a text, height and width of an image
_IMAGE = {"image_shape": (SIZE, SIZE, 3)}
_ENCODER = {"hidden_dim": 16, "num_layers": 2, "num_heads": 2, "intermediate_dim": 32}
_GROUPED = {
    "num_layers": 2,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 32,
    "head_dim": 8,
}


def resnet(image_shape: tuple[int | None, int | None, int], stages: int = 2, filters: int = 16, **more: Any) -> keras.Model:
    """A ResNet with a stem of 64 filters, as its first stage adds the stem's output."""
    return models.ResNetBackbone(
        input_conv_filters=[64], input_conv_kernel_sizes=[7], stackwise_num_filters=[64, *[filters] * (stages - 1)],
        stackwise_num_blocks=[1] * stages, stackwise_num_strides=[1, 2, 2, 2][:stages], block_type="basic_block",
        image_shape=image_shape, **more,
    )  # fmt: skip


def vit(**more: Any) -> keras.Model:
    """A ViT of two layers."""
    return models.ViTBackbone(
        **{**_IMAGE, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "patch_size": 8, "mlp_dim": 32, **more}
    )


def _basnet() -> keras.Model:
    encoder = models.ResNetBackbone(
        input_conv_filters=[64], input_conv_kernel_sizes=[7], stackwise_num_filters=[64, 16, 16, 16],
        stackwise_num_blocks=[2, 2, 2, 2], stackwise_num_strides=[1, 2, 2, 2], block_type="basic_block",
    )  # fmt: skip
    return models.BASNetBackbone(image_encoder=encoder, num_classes=1, image_shape=(64, 64, 3))


def _blip2() -> keras.Model:
    vision = models.BLIP2VisionEncoder(
        image_size=SIZE, patch_size=8, use_patch_bias=True, use_class_token=True, use_mha_bias=True, use_mlp_bias=True,
        dropout_rate=0.0, layer_norm_epsilon=1e-6, initializer_range=0.02, **_ENCODER,
    )  # fmt: skip
    former = models.BLIP2QFormer(
        num_query_tokens=2, vision_dim=16, cross_attention_frequency=1, dropout=0.0, layer_norm_epsilon=1e-6, **_ENCODER
    )
    language = models.BLIP2CustomOPT(
        vocabulary_size=WORDS, num_query_tokens=2, qformer_hidden_dim=16, max_sequence_length=2 * STEPS, dropout=0.0,
        language_projection=None, **_ENCODER,
    )  # fmt: skip
    return models.BLIP2Backbone(vision_encoder=vision, qformer=former, language_model=language)


def _pair(family: str) -> keras.Model:
    vision = getattr(models, f"{family}VisionEncoder")(patch_size=8, name="vision_encoder", **_ENCODER, **_IMAGE)
    text = getattr(models, f"{family}TextEncoder")(
        vocabulary_size=WORDS, embedding_dim=16, max_sequence_length=STEPS, name="text_encoder", **_ENCODER
    )
    more = {} if family == "SigLIP" else {"projection_dim": 16}
    return getattr(models, f"{family}Backbone")(vision_encoder=vision, text_encoder=text, **more)


def _dfine() -> keras.Model:
    encoder = models.HGNetV2Backbone(
        stem_channels=[3, 8, 8], stackwise_stage_filters=[[8, 8, 16, 1, 1, 3], [16, 8, 32, 1, 1, 3]], apply_downsample=[False,
        True],
        use_lightweight_conv_block=[False, False], depths=[1, 1], hidden_sizes=[16, 32], embedding_size=8,
        use_learnable_affine_block=True, hidden_act="relu", image_shape=(None, None, 3), out_features=["stage1", "stage2"],
    )  # fmt: skip
    return models.DFineBackbone(
        backbone=encoder, decoder_in_channels=[16, 16], encoder_hidden_dim=16, num_denoising=0, num_labels=4, hidden_dim=16,
        learn_initial_query=False, num_queries=10, anchor_image_size=(SIZE, SIZE), feat_strides=[4, 8], num_feature_levels=2,
        encoder_in_channels=[16, 32], encode_proj_layers=[1], num_attention_heads=2, encoder_ffn_dim=32, num_encoder_layers=1,
        hidden_expansion=0.5, depth_multiplier=0.5, eval_idx=-1, num_decoder_layers=2, decoder_attention_heads=2,
        decoder_ffn_dim=32,
        decoder_n_points=[2, 2], lqe_hidden_dim=16, num_lqe_layers=2, out_features=["stage1", "stage2"], seed=0, **_IMAGE,
    )  # fmt: skip


def _flux() -> keras.Model:
    return models.FluxBackbone(
        input_channels=16, hidden_size=32, mlp_ratio=2.0, num_heads=2, depth=1, depth_single_blocks=1, axes_dim=[4, 6, 6],
        theta=10_000,
        use_bias=True, guidance_embed=True, image_shape=(16, 16), text_shape=(8, 16), image_ids_shape=(16, 3), text_ids_shape=(8,
        3),
        y_shape=(16,),
    )  # fmt: skip


def _gemma3n() -> keras.Model:
    return models.Gemma3nBackbone(
        text_vocab_size=WORDS, text_hidden_size=16, num_hidden_layers=2, pad_token_id=0, num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8, intermediate_size=[32, 32], hidden_activation="gelu_approximate", layer_types=["full_attention"] * 2,
        sliding_window=4, rope_theta=10000.0, max_position_embeddings=STEPS, vocab_size_per_layer_input=WORDS,
        hidden_size_per_layer_input=4, altup_num_inputs=2, laurel_rank=2,
    )  # fmt: skip


def _gemma4() -> keras.Model:
    return models.Gemma4Backbone(vocabulary_size=WORDS, image_size=SIZE, sliding_window_size=4, **_GROUPED)


def _mobilenetv5() -> keras.Model:
    return models.MobileNetV5Backbone(
        stackwise_block_types=[["er"], ["uir", "uir"]], stackwise_num_blocks=[1, 2], stackwise_num_filters=[[8], [16, 16]],
        stackwise_strides=[[2], [2, 1]], stackwise_act_layers=[["relu"], ["relu", "relu"]], stackwise_exp_ratios=[[4.0], [4.0,
        4.0]],
        stackwise_se_ratios=[[0.0], [0.0, 0.0]], stackwise_dw_kernel_sizes=[[0], [5, 5]], stackwise_dw_start_kernel_sizes=[[0],
        [0, 0]],
        stackwise_dw_end_kernel_sizes=[[0], [0, 0]], stackwise_exp_kernel_sizes=[[3], [0, 0]], stackwise_pw_kernel_sizes=[[1],
        [0, 0]],
        stackwise_num_heads=[[0], [0, 0]], stackwise_key_dims=[[0], [0, 0]], stackwise_value_dims=[[0], [0, 0]],
        stackwise_kv_strides=[[0], [0, 0]], stackwise_use_cpe=[[False], [False, False]], stem_size=8, use_msfa=False, **_IMAGE,
    )  # fmt: skip


def _parseq() -> keras.Model:
    return models.PARSeqBackbone(
        image_encoder=vit(use_class_token=False, name="image_encoder"), vocabulary_size=WORDS, max_label_length=STEPS,
        decoder_hidden_dim=16, num_decoder_layers=1, num_decoder_heads=2, decoder_mlp_dim=32, dropout_rate=0.0,
        attention_dropout=0.0,
    )  # fmt: skip


def _pali_gemma() -> keras.Model:
    return models.PaliGemmaBackbone(
        vocabulary_size=WORDS, image_size=SIZE, vit_patch_size=8, vit_num_layers=2, vit_num_heads=2, vit_hidden_dim=16,
        vit_intermediate_dim=32, **_GROUPED,
    )  # fmt: skip


def _qwen35_moe() -> keras.Model:
    return models.Qwen3_5MoeBackbone(
        vocabulary_size=WORDS, num_layers=2, num_query_heads=4, num_key_value_heads=2, head_dim=8, hidden_dim=16,
        moe_intermediate_dim=16, shared_expert_intermediate_size=16, num_experts=4, top_k=2,
        layer_types=["linear_attention", "full_attention"], linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=8,
        linear_value_head_dim=8,
    )  # fmt: skip


def _sam() -> keras.Model:
    from keras_hub.src.models.sam.sam_mask_decoder import SAMMaskDecoder
    from keras_hub.src.models.sam.sam_prompt_encoder import SAMPromptEncoder

    encoder = models.ViTDetBackbone(
        hidden_size=16, num_layers=2, intermediate_dim=32, num_heads=2, global_attention_layer_indices=[1], patch_size=8,
        num_output_channels=8, window_size=2, **_IMAGE,
    )  # fmt: skip
    prompt = SAMPromptEncoder(hidden_size=8, image_embedding_size=(4, 4), input_image_size=(SIZE, SIZE), mask_in_channels=16)
    decoder = SAMMaskDecoder(
        num_layers=2,
        hidden_size=8,
        intermediate_dim=32,
        num_heads=2,
        embedding_dim=8,
        iou_head_hidden_dim=8,
        num_multimask_outputs=3,
    )
    return models.SAMBackbone(image_encoder=encoder, prompt_encoder=prompt, mask_decoder=decoder)


def _t5gemma2() -> keras.Model:
    sizes = {
        "hidden_dim": 16, "intermediate_dim": 32, "num_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    }  # fmt: skip
    both: dict[str, Any] = {f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in sizes.items()}
    return models.T5Gemma2Backbone(vocabulary_size=WORDS, sliding_window=4, cross_attention_hidden_size=16, **both)


def _video_prism() -> keras.Model:
    return models.VideoPrismBackbone(
        image_shape=(16, 16, 3), num_frames=4, patch_size=8, hidden_dim=16, intermediate_dim=32, num_heads=2, num_spatial_layers=1,
        num_temporal_layers=1, num_auxiliary_layers=1, vocabulary_size=0, num_text_layers=0,
    )  # fmt: skip


COMPOSED: dict[str, Net] = {
    "BASNet": _basnet,
    "BLIP2": _blip2,
    "CLIP": lambda: _pair("CLIP"),
    "DFine": _dfine,
    "EdRec": lambda: models.EdRecBackbone(
        vocab_size=WORDS, num_layers_enc=2, num_layers_dec=2, num_heads=2, hidden_dim=16, intermediate_dim=32
    ),
    "Flux": _flux,
    "Gemma3n": _gemma3n,
    "Gemma4": _gemma4,
    "MetaCLIP2": lambda: _pair("MetaCLIP2"),
    "MobileNetV5": _mobilenetv5,
    "PARSeq": _parseq,
    "PaliGemma": _pali_gemma,
    "Qwen3_5Moe": _qwen35_moe,
    "SAM": _sam,
    "SigLIP": lambda: _pair("SigLIP"),
    "T5Gemma2": _t5gemma2,
    "VideoPrism": _video_prism,
}
