"""The method: teachers, data, the MLLM with its alignment objective, benchmarks, analyses."""
