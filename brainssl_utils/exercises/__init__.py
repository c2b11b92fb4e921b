"""Checkers that the notebooks' exercises call, one module a notebook. Each prints its finding and returns True or False."""
