"""The files of two runs held against each other: stage by stage, iteration by iteration."""
