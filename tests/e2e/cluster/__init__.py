"""A Kubernetes cluster on one computer; `Cluster` is all that its users need."""

from .cluster import Cluster

__all__ = ["Cluster"]
