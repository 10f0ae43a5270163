"""Conversations with chat models: prompts, reading of replies, endpoints, limits and budgets."""
