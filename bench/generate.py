"""How fast questions are answered: one at a time and in batches, with each picture looked at once or for each question.

    python bench/generate.py [--student scaled] [--pictures 12] [--questions 6] [--new 10]
    python bench/generate.py --device cuda --student vicuna-7b --pictures 500 --questions 6 --batch-size 256

Students are LLaVA-1.5-7B in miniature at its real 576 visual tokens (`scaled`), or of real size, with random weights;
they hardly ever end a reply, so each has `--new` tokens. Pictures are 640 x 480 noise. Hooks time the stages: the
tower, the prompt's pass through the LLM, its single tokens; the rest is waiting for pictures and the loop itself. All
ways must give the same replies in fp32, which is checked.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from overhead_students import REAL
from PIL import Image

from viral.data.images import PixelSpec
from viral.data.tokens import ImageTokens
from viral.device import pick_device
from viral.microworld.parts import parts
from viral.mllm.generate import Question, generate
from viral.mllm.load import load_tokenizer
from viral.mllm.scaled import write_scaled_llava
from viral.mllm.student import Student, load_student
from viral.teachers import get_teacher

STAGES = ("tower", "prompt", "tokens")


@dataclass(frozen=True)
class Shown:
    """A picture file; those of another `number` count as other pictures."""

    path: Path
    number: int = 0

    def read_bytes(self) -> bytes:
        """The file."""
        return self.path.read_bytes()

    def is_file(self) -> bool:
        """Written below."""
        return True


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--student", choices=("scaled", *REAL), default="scaled")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="", help="default: float32 on a CPU, else float16")
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument("--questions", type=int, default=6, help="about each picture")
    parser.add_argument("--new", type=int, default=10, help="tokens of each reply")
    parser.add_argument("--batch-size", type=int, default=32)
    given = parser.parse_args()
    device = pick_device(given.device)
    dtype = given.dtype or ("float32" if device.type == "cpu" else "float16")
    with tempfile.TemporaryDirectory() as folder:
        student = make_student(given.student, Path(folder) / "student", device, dtype)
        files = write_pictures(Path(folder), given.pictures)
        shared = [ask(Shown(file), n) for file in files for n in range(given.questions)]
        apart = [ask(Shown(file, n), n) for file in files for n in range(given.questions)]
        ways = {
            "one at a time, tower for each question": (apart, 1),
            "one at a time, tower once": (shared, 1),
            f"batches of {given.batch_size}, tower for each question": (apart, given.batch_size),
            f"batches of {given.batch_size}, tower once": (shared, given.batch_size),
        }
        print(
            f"{given.student}, {dtype}, {device}, {torch.get_num_threads()} threads, torch {torch.__version__}; "
            f"{len(files)} pictures, {len(shared)} questions, {given.new} tokens each"
        )
        print("| way | questions/s | seconds | " + " | ".join(STAGES) + " | rest |\n|---|" + "--:|" * 6)
        replies: dict[str, dict[str, str]] = {}
        run(student, shared[: given.batch_size], given.batch_size, given.new)  # warms up
        for way, (questions, batch_size) in ways.items():
            with stage_times(student) as stages:
                start = now(device)
                replies[way] = run(student, questions, batch_size, given.new)
                seconds = now(device) - start
            cells = [f"{stages[stage]:.2f}" for stage in STAGES]
            rest = seconds - sum(stages.values())
            print(
                f"| {way} | {len(questions) / seconds:.2f} | {seconds:.2f} | {' | '.join(cells)} | {rest:.2f} |"
            )
        same = len({tuple(sorted(each.items())) for each in replies.values()}) == 1
        print("replies are the same in all ways" if same else "replies differ")


def now(device: torch.device) -> float:
    """Seconds; on a CPU those of the processor, which other jobs do not change much."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def run(student: Student, questions: list[Question], batch_size: int, new: int) -> dict[str, str]:
    answered = generate(student, questions, max_new_tokens=new, image_mode="pad", batch_size=batch_size)
    return dict(answered)


def ask(picture: Shown, number: int) -> Question:
    shapes = ("circle", "square", "triangle", "star", "cross", "ring", "diamond", "heart")
    text = f"USER: <image>\nIs there a {shapes[number % 8]} in the image? ASSISTANT:"
    return Question(f"{picture.path.name} {number}", text, picture)


def write_pictures(folder: Path, number: int) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [folder / f"{index}.jpg" for index in range(number)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)).save(path)
    return paths


def make_student(name: str, folder: Path, device: torch.device, dtype: str) -> Student:
    if name == "scaled":
        return load_student(str(write_scaled_llava(folder)), device=str(device), dtype=dtype)
    class_name, sizes = REAL[name]
    tokenizer = load_tokenizer(parts()["llm"])
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**get_teacher("clip-l-336").kwargs),
        text_config=getattr(transformers, class_name)(**sizes),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        tie_word_embeddings=sizes.get("tie_word_embeddings", False),
    )
    torch.set_default_dtype(getattr(torch, dtype))
    with torch.device(device):
        model = transformers.LlavaForConditionalGeneration(config).eval()
    torch.set_default_dtype(torch.float32)
    return Student(model, tokenizer, PixelSpec(size=336), ImageTokens(id=config.image_token_id, count=576))


@contextmanager
def stage_times(student: Student) -> Iterator[dict[str, float]]:
    """Seconds by stage, filled while the block runs."""
    seconds, started = dict.fromkeys(STAGES, 0.0), dict[str, float]()
    device = student.model.device

    def begin(stage: str) -> None:
        started[stage] = now(device)

    def end(stage: str) -> None:
        seconds[stage] += now(device) - started[stage]

    def stage_of(kwargs: dict[str, Any]) -> str:
        return "prompt" if kwargs["inputs_embeds"].shape[1] > 1 else "tokens"

    tower, decoder = student.model.model.vision_tower, student.model.model.language_model
    hooks = [
        tower.register_forward_pre_hook(lambda *_: begin("tower")),
        tower.register_forward_hook(lambda *_: end("tower")),
        decoder.register_forward_pre_hook(lambda _m, _a, kwargs: begin(stage_of(kwargs)), with_kwargs=True),
        decoder.register_forward_hook(lambda _m, _a, kwargs, _o: end(stage_of(kwargs)), with_kwargs=True),
    ]
    try:
        yield seconds
    finally:
        for hook in hooks:
            hook.remove()


if __name__ == "__main__":
    main()
