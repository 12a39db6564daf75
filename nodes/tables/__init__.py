"""Finds, chooses and embeds table files."""
