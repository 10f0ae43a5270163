"""Conversations with chat models: what is asked, how replies are read, who answers."""
