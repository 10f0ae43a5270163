"""Gradient routing in training loops of other packages, one file for each package."""
