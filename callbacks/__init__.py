"""Lightning callbacks. Import them as `lightning_vista.callbacks`."""
