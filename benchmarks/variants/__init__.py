"""Variants side by side with what others make of the same models."""
