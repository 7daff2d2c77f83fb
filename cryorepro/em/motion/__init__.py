"""Motion correction of movies: whole frames, patches, exposure weighting and the sums."""
