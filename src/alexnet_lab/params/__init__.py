"""What do params.yaml and claims.yaml say? Typed, frozen views; the only readers of those files.

Nothing here has a default that could change a result: a value stands in params.yaml
or is asked for by name.
"""

from alexnet_lab.params.reading import load, load_claims, parse

__all__ = ["load", "load_claims", "parse"]
