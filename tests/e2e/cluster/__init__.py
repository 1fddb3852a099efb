"""A Kubernetes cluster on one computer. Its interface is the class `Cluster`."""

from .cluster import Cluster

__all__ = ["Cluster"]
