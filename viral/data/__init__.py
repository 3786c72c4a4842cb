"""What goes into the model: images, conversations, token ids, batches, sample order."""
