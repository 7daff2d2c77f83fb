"""Which rented machine for which stage: tables of stage times, spot machines, an exact solver, fronts."""
