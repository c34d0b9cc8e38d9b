"""Results as a page: tables, figures, and sentences that the numbers allow."""

from .page import FIGURES, render, save_figures

__all__ = ['FIGURES', 'render', 'save_figures']
