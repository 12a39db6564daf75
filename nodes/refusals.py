"""Turns whatever went wrong with an input into one sentence that a person can read."""

from __future__ import annotations

LONGEST = 400


def refusal(node: str, error: Exception) -> str:
    """Return an error as one printable sentence of a node, however long or odd the value that it quotes."""
    text = "".join(letter if letter.isprintable() else "?" for letter in str(error)).rstrip(".")
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
    return f"{node}: {text}."
