"""A plugin for tests: a sum computed one step at a time, by a program that can be told to misbehave."""
