"""Deployment: from a few answers to a kustomize overlay, so that nobody writes Kubernetes YAML by hand."""

from optml_queue.deploy.answers import Answers, ResourceClass
from optml_queue.deploy.overlay import example_text, manifests_dir, render
from optml_queue.deploy.reader import load_answers, parse_answers

__all__ = ["Answers", "ResourceClass", "example_text", "load_answers", "manifests_dir", "parse_answers", "render"]
