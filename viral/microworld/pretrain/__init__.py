"""How the shipped micro parts were made: `python -m viral.microworld.pretrain all --out DIR`."""
