"""Gold-standard refinement by branch and bound, with uniform or cross-validated local regularisation."""
