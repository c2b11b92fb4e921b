"""The synthetic default: virtual patients rendered into files like those of the three archives."""
