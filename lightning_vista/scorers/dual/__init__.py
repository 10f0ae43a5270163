"""The parts of the dual encoder: frames, texts, videos, what it learns from, and its weights."""
