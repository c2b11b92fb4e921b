"""Copies of one picture: candidates, proof by correlation, groups."""
