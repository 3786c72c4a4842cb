"""In which words a model is asked, told from its files before any weight is loaded."""

import json
from pathlib import Path

from viral.benchmarks import get_profile
from viral.data.conversation import TEMPLATES, CaptionTemplate
from viral.errors import WeightsError, one_line

ORIGIN = "viral.json"
"""In an exported model: which run it is of."""


def asked_template(model: str, profile: str) -> str:
    """Name of the conversation template in which an evaluation profile asks `model`.

    A profile `as_trained` takes that of the model's training, which a run or its export records; of any other folder or
    hub id, that of its LLM's family. The others take their own, unless the release asks this family as it trains it.

    Raises:
        UnknownNameError: no such profile.
        ConfigError, WeightsError: no model there, or none that we know.
    """
    from pipelines.training.load import run_config
    from viral.mllm.llms import get_llm_family, prompt_template
    from viral.mllm.load import read_model_config

    shown, run = get_profile(profile), run_config(model)
    source = str(run.model.llava or run.model.llm) if run else model
    config = read_model_config(source, "model")
    family = get_llm_family(config.get_text_config().model_type, source)
    if not shown.as_trained:
        return prompt_template(family, shown.template)
    trained = run.data.template if run else _exported_template(Path(model))
    if trained is None or isinstance(TEMPLATES.get(trained), CaptionTemplate):  # captions are not asked for
        return family.template
    return trained


def _exported_template(folder: Path) -> str | None:
    origin = folder / ORIGIN
    if not origin.is_file():
        return None
    try:
        return str(json.loads(origin.read_text())["config"]["data"]["template"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{origin} is damaged ({one_line(error)}): it says how the model was trained; export the run again."
        ) from error
