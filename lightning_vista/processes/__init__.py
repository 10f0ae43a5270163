"""Processes of a command: loading workers, pools, stops, and progress bars."""
