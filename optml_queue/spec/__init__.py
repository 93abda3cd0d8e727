"""The spec: what a researcher writes into one YAML file, read, checked, and with every default filled in."""

from optml_queue.spec.reader import load_spec, parse_spec
from optml_queue.spec.spec import RetryPolicy, Spec

__all__ = ["RetryPolicy", "Spec", "load_spec", "parse_spec"]
