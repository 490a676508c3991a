"""eutectic: compute-optimal scaling laws for homogeneous and hybrid sequence-model architectures."""

__version__ = "0.1.0"
