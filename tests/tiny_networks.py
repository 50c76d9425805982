"""Networks of the classes that `transformers` has, made as small as they go, with weights of chance, as folders."""

import json
from functools import partial
from pathlib import Path

SIDE = 64  # that detectors bring frames to
SPARSE = {1: "person", 5: "sports ball", 7: "tennis racket"}  # numbers with holes, as of RF-DETR's COCO head
LABELS = {0: "person", 1: "sports ball", 2: "tennis racket"}
WORDS = [
    "person", "player", "sports", "ball", "tennis", "soccer", "basketball", "volleyball", "baseball", "racket", "bat",
    "goal", "court", "yellow",
]  # fmt: skip
DECODER = {
    "encoder_hidden_dim": 16,
    "feat_strides": [8, 16, 32],
    "encoder_layers": 1,
    "encoder_ffn_dim": 16,
    "encoder_attention_heads": 2,
    "d_model": 16,
    "num_queries": 20,
    "decoder_in_channels": [16, 16, 16],
    "decoder_ffn_dim": 16,
    "decoder_layers": 2,
    "decoder_attention_heads": 2,
    "anchor_image_size": None,
}


def make(kind: str, folder: Path) -> Path:
    """Save the network of that kind, one of MAKERS."""
    import torch

    torch.manual_seed(3)
    for part in MAKERS[kind](folder):
        part.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\nA tiny one.\n")
    return folder


def _rt_detr_v2(folder: Path):
    import transformers as t

    backbone = t.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = t.RTDetrV2Config(backbone_config=backbone, encoder_in_channels=[8, 16, 16], id2label=LABELS, **DECODER)
    return t.RTDetrV2ForObjectDetection(config), t.RTDetrImageProcessor(size={"height": SIDE, "width": SIDE})


def _d_fine(folder: Path):
    import transformers as t

    backbone = t.HGNetV2Config(
        stem_channels=[3, 8, 8],
        stage_in_channels=[8, 8, 16, 16],
        stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[8, 16, 16, 16],
        stage_num_blocks=[1, 1, 1, 1],
        stage_numb_of_layers=[1, 1, 1, 1],
        stage_light_block=[False, False, True, True],
        stage_kernel_size=[3, 3, 3, 3],
        out_features=["stage2", "stage3", "stage4"],
        embedding_size=8,
        hidden_sizes=[8, 16, 16, 16],
        depths=[1, 1, 1, 1],
    )
    config = t.DFineConfig(backbone_config=backbone, encoder_in_channels=[16, 16, 16], id2label=LABELS, **DECODER)
    return t.DFineForObjectDetection(config), t.RTDetrImageProcessor(size={"height": SIDE, "width": SIDE})


def _rf_detr(folder: Path):
    import transformers as t

    backbone = {
        "model_type": "rf_detr_dinov2",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "mlp_ratio": 2,
        "image_size": SIDE,
        "patch_size": 16,
        "num_windows": 2,
        "out_features": ["stage1", "stage2"],
        "window_block_indexes": [0],
    }
    config = t.RfDetrConfig(
        backbone_config=backbone,
        d_model=16,
        decoder_ffn_dim=16,
        decoder_layers=2,
        decoder_self_attention_heads=2,
        decoder_cross_attention_heads=2,
        num_queries=10,
        group_detr=1,
        intermediate_size=16,
        c2f_num_blocks=1,
        id2label={number: SPARSE.get(number, "N/A") for number in range(9)},
    )
    config.id2label = SPARSE
    return t.RfDetrForObjectDetection(config), t.RfDetrImageProcessor(size={"height": SIDE, "width": SIDE})


def _mm_grounding_dino(folder: Path):
    import transformers as t

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *WORDS]
    tokenizer = t.BertTokenizer(vocab={word: at for at, word in enumerate(vocabulary)})
    text = t.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
    )
    backbone = t.SwinConfig(
        image_size=SIDE,
        patch_size=4,
        embed_dim=8,
        depths=[1, 1, 1],
        num_heads=[1, 2, 2],
        window_size=4,
        out_features=["stage2", "stage3"],
    )
    config = t.MMGroundingDinoConfig(
        backbone_config=backbone,
        text_config=text,
        d_model=32,
        num_feature_levels=2,
        num_queries=20,
        encoder_layers=1,
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_layers=2,
        decoder_ffn_dim=16,
        decoder_attention_heads=2,
        max_text_len=64,
    )
    images = t.GroundingDinoImageProcessor(size={"shortest_edge": SIDE, "longest_edge": 2 * SIDE})
    return t.MMGroundingDinoForObjectDetection(config), t.GroundingDinoProcessor(images, tokenizer)


def _owlv2(folder: Path):
    import transformers as t

    folder.mkdir(parents=True, exist_ok=True)
    # Number 0 is what ends a text for OWLv2: no text may begin with it.
    letters = sorted({*"".join(WORDS)})
    pieces = ["!", "<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
    vocabulary = {piece: at for at, piece in enumerate(pieces)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = t.CLIPTokenizer.from_pretrained(folder, model_max_length=24, pad_token="<|endoftext|>")
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = t.Owlv2Config(
        text_config={
            **size, "vocab_size": len(pieces), "max_position_embeddings": 24, "bos_token_id": 1, "eos_token_id": 2,
            "pad_token_id": 2,
        },
        vision_config={**size, "image_size": SIDE, "patch_size": 16},
        projection_dim=16,
    )  # fmt: skip
    images = t.Owlv2ImageProcessor(size={"height": SIDE, "width": SIDE})
    return t.Owlv2ForObjectDetection(config), t.Owlv2Processor(images, tokenizer)


def _vitpose(folder: Path):
    import transformers as t

    backbone = {
        "model_type": "vitpose_backbone",
        "image_size": [64, 48],
        "patch_size": [16, 16],
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "mlp_ratio": 1,
        "out_features": ["stage1"],
    }
    config = t.VitPoseConfig(
        backbone_config=backbone, num_labels=17, initializer_range=2.0, use_simple_decoder=True, scale_factor=2
    )
    images = t.VitPoseImageProcessor(size={"height": 64, "width": 48})
    return t.VitPoseForPoseEstimation(config), images


def _dinov2(folder: Path):
    import transformers as t

    config = t.Dinov2Config(
        image_size=56, patch_size=14, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=1
    )
    size = {"shortest_edge": 56}
    images = t.BitImageProcessor(size=size, crop_size={"height": 56, "width": 56})
    return t.Dinov2Model(config), images


CLIPS = {0: "hitting baseball", 1: "juggling soccer ball", 2: "playing tennis"}


def _videomae(folder: Path):
    import transformers as t

    config = t.VideoMAEConfig(
        image_size=32, patch_size=16, num_frames=8, tubelet_size=2, hidden_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=16, id2label=CLIPS,
    )  # fmt: skip
    images = t.VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return t.VideoMAEForVideoClassification(config), images


def _vjepa2(folder: Path):
    import transformers as t

    config = t.VJEPA2Config(
        crop_size=32, patch_size=16, frames_per_clip=8, tubelet_size=2, hidden_size=32, num_hidden_layers=1,
        num_attention_heads=2, mlp_ratio=1, pred_hidden_size=32, pred_num_attention_heads=2, pred_num_hidden_layers=1,
        num_pooler_layers=1, id2label=CLIPS,
    )  # fmt: skip
    return t.VJEPA2ForVideoClassification(config), t.VJEPA2VideoProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )


def _sam3_video(folder: Path):
    import transformers as t

    folder.mkdir(parents=True, exist_ok=True)
    letters = sorted({*"".join(WORDS)})
    pieces = ["!", "<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
    (folder / "vocab.json").write_text(json.dumps({piece: at for at, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = t.CLIPTokenizer.from_pretrained(folder, model_max_length=32, pad_token="<|endoftext|>")
    side, cells = 112, 8
    size = {"height": side, "width": side}
    small = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2}
    wide = small | {"hidden_size": 128}  # a tracker's memory is 64 wide, and an object's pointer is cut into such
    detector = t.Sam3Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model", **small, "num_hidden_layers": 2, "image_size": side, "patch_size": 14,
                "window_size": 4, "global_attn_indexes": [1], "pretrain_image_size": 56,
            },
            "fpn_hidden_size": 128,
            "backbone_feature_sizes": [[4 * cells] * 2, [2 * cells] * 2, [cells] * 2],
        },
        text_config={
            **small, "vocab_size": len(pieces), "num_hidden_layers": 1, "max_position_embeddings": 32,
            "projection_dim": 32, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
        },
        geometry_encoder_config=wide | {"num_layers": 1},
        detr_encoder_config=wide | {"num_layers": 1},
        detr_decoder_config=wide | {"num_layers": 1, "num_queries": 4},
        mask_decoder_config={"hidden_size": 128, "num_attention_heads": 2},
    )  # fmt: skip
    tracker = t.Sam3TrackerVideoConfig(
        vision_config=detector.vision_config.to_dict(),
        prompt_encoder_config={"hidden_size": 128, "image_size": side, "patch_size": 14, "mask_input_channels": 4},
        mask_decoder_config={"hidden_size": 128, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 32},
        image_size=side, memory_attention_hidden_size=128, memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=32, memory_attention_rope_feat_sizes=[cells] * 2,
        memory_encoder_hidden_size=128, memory_encoder_output_channels=64, mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128, memory_fuser_intermediate_dim=32, memory_fuser_num_layers=1,
    )  # fmt: skip
    config = t.Sam3VideoConfig(
        detector_config=detector.to_dict(), tracker_config=tracker.to_dict(), low_res_mask_size=4 * cells,
        score_threshold_detection=0.0, new_det_thresh=0.0,
    )  # fmt: skip
    images = t.Sam3ImageProcessor(size=size, mask_size={"height": 4 * cells, "width": 4 * cells})
    processor = t.Sam3VideoProcessor(images, t.Sam2VideoVideoProcessor(size=size), tokenizer)
    return t.Sam3VideoModel(config), processor


SAM_SIDE = 128
SAM_BACKBONE = {
    "model_type": "sam2_hiera_det_model", "hidden_size": 12, "image_size": [SAM_SIDE, SAM_SIDE],
    "blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [12, 24, 48, 96],
    "num_attention_heads_per_stage": [1, 1, 2, 4],
    "window_size_per_stage": [8, 4, 4, 4], "global_attention_blocks": [3],
}  # fmt: skip
SAM_VISION = {
    "backbone_config": SAM_BACKBONE, "backbone_channel_list": [96, 48, 24, 12], "fpn_hidden_size": 128,
    "backbone_feature_sizes": [[SAM_SIDE // 4] * 2, [SAM_SIDE // 8] * 2, [SAM_SIDE // 16] * 2],
}  # fmt: skip
SAM_PARTS = {
    "vision_config": SAM_VISION,
    "prompt_encoder_config": {"hidden_size": 128, "image_size": SAM_SIDE, "patch_size": 16, "mask_input_channels": 4},
    "mask_decoder_config": {"hidden_size": 128, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 32},
}
SAM_MEMORY = {
    "image_size": SAM_SIDE, "memory_attention_hidden_size": 128, "memory_attention_num_layers": 1,
    "memory_attention_feed_forward_hidden_size": 32, "memory_attention_rope_feat_sizes": [SAM_SIDE // 16] * 2,
    "memory_encoder_hidden_size": 128, "memory_encoder_output_channels": 64, "mask_downsampler_embed_dim": 128,
    "memory_fuser_embed_dim": 128, "memory_fuser_intermediate_dim": 32, "memory_fuser_num_layers": 1,
}  # fmt: skip


def _sam2(folder: Path, follows: bool = False):
    import transformers as t

    size = {"height": SAM_SIDE, "width": SAM_SIDE}
    pictures = t.Sam2ImageProcessor(size=size, mask_size={"height": SAM_SIDE // 4, "width": SAM_SIDE // 4})
    if follows:
        model = t.Sam2VideoModel(t.Sam2VideoConfig(**SAM_PARTS, **SAM_MEMORY))
        return model, t.Sam2VideoProcessor(pictures, t.Sam2VideoVideoProcessor(size=size))
    return t.Sam2Model(t.Sam2Config(**SAM_PARTS)), t.Sam2Processor(pictures)


DETECTORS = {
    "rf_detr": _rf_detr,
    "d_fine": _d_fine,
    "rt_detr_v2": _rt_detr_v2,
    "mm-grounding-dino": _mm_grounding_dino,
    "owlv2": _owlv2,
}
MAKERS = DETECTORS | {
    "sam3_video": _sam3_video,
    "vitpose": _vitpose,
    "dinov2": _dinov2,
    "videomae": _videomae,
    "vjepa2": _vjepa2,
}
MAKERS |= {"sam2": _sam2, "sam2_video": partial(_sam2, follows=True)}
