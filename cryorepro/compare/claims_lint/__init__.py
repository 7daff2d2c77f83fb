"""A lint for published figures: what contradicts itself, one rule a file.

The rules read the claims' rows alone: values, units, conditions. They never read what a person noted about a claim
(``defects``, ``quality``), so that those notes can be the test of the rules.
"""
