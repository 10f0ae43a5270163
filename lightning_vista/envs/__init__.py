"""The grid worlds that the embedded dataset is recorded in."""
