"""Drawings of the chapter on queries, keys and values: three roles, spaces, products, symmetry."""

from companion.figures.projections.products import matrix_product
from companion.figures.projections.roles import roles_flow, three_roles
from companion.figures.projections.spaces import projected_spaces, spaces_flow
from companion.figures.projections.symmetry import asymmetry

__all__ = [
    "asymmetry",
    "matrix_product",
    "projected_spaces",
    "roles_flow",
    "spaces_flow",
    "three_roles",
]
