"""Measurements of what Holdfast promises: numbers, each beside what it is compared with in the same run."""
