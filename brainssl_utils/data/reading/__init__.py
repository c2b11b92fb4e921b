"""From archives and folders to squares: what lies where, decoding, the cache."""
