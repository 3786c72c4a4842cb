"""The embedded micro-world: drawn scenes, questions about them, and small parts "pre-trained" on them."""
