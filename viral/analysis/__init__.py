"""What the hidden states hold: pictures and measures."""
