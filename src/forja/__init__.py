"""Forja turns raw text into a language model that its owner can account for."""

__version__ = "0.1.0"
