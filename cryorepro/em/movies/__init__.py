"""Movies in: frames of TIFF, EER and MRC files, gain references, defects, and which movies are set aside."""
