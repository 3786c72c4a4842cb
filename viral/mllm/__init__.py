"""The multimodal LLM: load or assemble it, adapt it with LoRA, tap a layer, export and generate."""
