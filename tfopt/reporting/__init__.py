"""Results in, JSON, Markdown and text tables out."""
