"""What may be chosen, and with which probability."""

from .process import DecisionProcess
from .space import check_space, within_budget
from .subsets import SubsetDistribution, subset_costs, subset_table

__all__ = [
    'DecisionProcess', 'SubsetDistribution', 'check_space', 'subset_costs',
    'subset_table', 'within_budget'
]
