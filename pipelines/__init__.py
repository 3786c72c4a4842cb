"""The stories: plan and build a cache, train, evaluate, demo. Wires `viral` (the method) and `stores`."""
