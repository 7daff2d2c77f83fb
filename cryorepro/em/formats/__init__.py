"""Readers and writers of the field's own files (STAR, MRC); none of them imports torch."""
