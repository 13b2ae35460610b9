"""Pre-training of both encoders: crops, prompts and steps that the main training does not need."""
