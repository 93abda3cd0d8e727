"""The spec: what a researcher writes into one YAML file, read, checked, and with every default filled in."""

from optml_queue.spec.algorithm import Algorithm
from optml_queue.spec.code import Code
from optml_queue.spec.command import Command
from optml_queue.spec.program import Program
from optml_queue.spec.reader import load_spec, parse_spec
from optml_queue.spec.spec import RetryPolicy, Spec

__all__ = ["Algorithm", "Code", "Command", "Program", "RetryPolicy", "Spec", "load_spec", "parse_spec"]
