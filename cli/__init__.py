"""The `viral` command: parse, call one pipeline function, print."""
