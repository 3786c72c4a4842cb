"""Stage two: fine-tune the MLLM against cached teacher features."""
