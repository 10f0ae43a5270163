"""The parts of the dual encoders: encoders of frames and texts, heads, losses and pretraining."""
