"""What the paper's own scale starts from: names, sizes and addresses of weights and data, and how to fetch them.

Hub ids are those that recipes and teachers name. Sizes are rounded, and as their authors state them.
"""

from dataclasses import dataclass

GB, MB = 10**9, 10**6
COCO = "http://images.cocodataset.org/zips"
VG = "https://cs.stanford.edu/people/rak248/VG_100K_2"


@dataclass(frozen=True, kw_only=True, slots=True)
class Download:
    """A part of the data. `places` are below the folder of data: each has to be there, and folders not empty."""

    name: str
    places: tuple[str, ...]
    num_bytes: int
    get: tuple[str, ...]
    """Commands to type in the folder of data, or pages with instructions."""


def _dataset(hub_id: str, folder: str, *files: str) -> str:
    return " ".join(["hf download", hub_id, *files, "--repo-type dataset --local-dir", folder])


WEIGHT_BYTES = {
    "lmsys/vicuna-7b-v1.5": 13_500 * MB,
    "lmsys/vicuna-13b-v1.5": 26 * GB,
    "Qwen/Qwen2.5-7B-Instruct": 15 * GB,
    "openai/clip-vit-large-patch14-336": 1_700 * MB,
    "google/siglip2-so400m-patch16-384": 4_500 * MB,
    "liuhaotian/llava-v1.5-mlp2x-336px-pretrain-vicuna-7b-v1.5": 42 * MB,
    "liuhaotian/llava-v1.5-mlp2x-336px-pretrain-vicuna-13b-v1.5": 63 * MB,
    "timm/vit_base_patch14_dinov2.lvd142m": 346 * MB,
    "timm/samvit_base_patch16.sa1b": 359 * MB,
    "depth-anything/Depth-Anything-V2-Base": 390 * MB,
    "nvidia/RADIO-B": 390 * MB,
    "black-forest-labs/FLUX.1-schnell": 335 * MB,
}
"""Of the files that are read, by hub id."""

LLAVA_665K = (
    Download(
        name="LLaVA-665K annotations",
        places=("llava_v1_5_mix665k.json",),
        num_bytes=1_030 * MB,
        get=(_dataset("liuhaotian/LLaVA-Instruct-150K", ".", "llava_v1_5_mix665k.json"),),
    ),
    Download(
        name="COCO train2017",
        places=("llava-665k/coco/train2017",),
        num_bytes=19 * GB,
        get=(f"wget {COCO}/train2017.zip && unzip -q train2017.zip -d llava-665k/coco",),
    ),
    Download(
        name="GQA images",
        places=("llava-665k/gqa/images",),
        num_bytes=21 * GB,
        get=(
            "wget https://downloads.cs.stanford.edu/nlp/data/gqa/images.zip -O gqa.zip && "
            "unzip -q gqa.zip -d llava-665k/gqa",
        ),
    ),
    Download(
        name="OCR-VQA images, all as .jpg",
        places=("llava-665k/ocr_vqa/images",),
        num_bytes=11 * GB,
        get=(
            "https://ocr-vqa.github.io (a download script; some of its addresses are dead)",
            "into llava-665k/ocr_vqa/images",
        ),
    ),
    Download(
        name="TextVQA train_images",
        places=("llava-665k/textvqa/train_images",),
        num_bytes=7 * GB,
        get=(
            "wget https://dl.fbaipublicfiles.com/textvqa/images/train_val_images.zip && "
            "unzip -q train_val_images.zip -d llava-665k/textvqa",
        ),
    ),
    Download(
        name="Visual Genome",
        places=("llava-665k/vg/VG_100K", "llava-665k/vg/VG_100K_2"),
        num_bytes=15 * GB,
        get=(
            f"wget {VG}/images.zip -O vg1.zip && unzip -q vg1.zip -d llava-665k/vg",
            f"wget {VG}/images2.zip -O vg2.zip && unzip -q vg2.zip -d llava-665k/vg",
        ),
    ),
)

LLAVA_PRETRAIN = Download(
    name="LLaVA-Pretrain, 558K captions",
    places=("LLaVA-Pretrain/blip_laion_cc_sbu_558k.json", "LLaVA-Pretrain/images"),
    num_bytes=27 * GB,
    get=(
        _dataset("liuhaotian/LLaVA-Pretrain", "LLaVA-Pretrain"),
        "unzip -q LLaVA-Pretrain/images.zip -d LLaVA-Pretrain/images",
    ),
)

BENCHMARK_FILES = {
    "cvbench": Download(
        name="CV-Bench 2D",
        places=("benchmarks/cvbench",),
        num_bytes=250 * MB,
        get=(_dataset("nyu-visionx/CV-Bench", "benchmarks/cvbench"),),
    ),
    "mmvp": Download(
        name="MMVP",
        places=("benchmarks/MMVP",),
        num_bytes=20 * MB,
        get=(_dataset("MMVP/MMVP", "benchmarks/MMVP"),),
    ),
    "whatsup": Download(
        name="What's Up, with AdaptVis's prompts and COCO val2017",
        places=("benchmarks/AdaptVis",),
        num_bytes=GB,
        get=(
            "https://github.com/shiqichen17/AdaptVis (prompts/) into benchmarks/AdaptVis/prompts",
            "https://github.com/amitakamath/whatsup_vlms (coco_qa_*.json, controlled images) into "
            "benchmarks/AdaptVis/data",
            f"wget {COCO}/val2017.zip && unzip -q val2017.zip -d benchmarks/AdaptVis/data",
        ),
    ),
    "pope": Download(
        name="POPE, with COCO val2014",
        places=("benchmarks/POPE", "benchmarks/COCO2014/val2014"),
        num_bytes=6_600 * MB,
        get=(
            "https://github.com/AoiDragon/POPE/tree/e3e39262c85a6a83f26cf5094022a782cb0df58d/output/coco: "
            "coco_pope_SPLIT.json as benchmarks/POPE/pope_SPLIT.jsonl",
            f"wget {COCO}/val2014.zip && unzip -q val2014.zip -d benchmarks/COCO2014",
        ),
    ),
    "mmstar": Download(
        name="MMStar",
        places=("benchmarks/MMStar",),
        num_bytes=42 * MB,
        get=(_dataset("Lin-Chen/MMStar", "benchmarks/MMStar", "mmstar.parquet"),),
    ),
    "mme": Download(
        name="MME",
        places=("benchmarks/MME_Benchmark_release_version",),
        num_bytes=900 * MB,
        get=(
            "https://github.com/BradyFU/Awesome-Multimodal-Large-Language-Models/tree/Evaluation, or:",
            _dataset("darkyarding/MME", "benchmarks"),
        ),
    ),
}

GQA_RELATIONS = Download(
    name="Figure 4's questions (ChooseRel, 964 rows)",
    places=("analysis/GQA_val_correct_question_with_relChooser_ChooseRel.csv",),
    num_bytes=MB,
    get=(
        "https://github.com/FightingFighting/cross-modal-information-flow-in-MLLM: the file of datasets/ of this name, "
        "into analysis/",
    ),
)
