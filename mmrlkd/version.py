"""The version of the package, and nothing else: ``setup.py`` reads this file."""

__version__ = '0.2.0'
