"""Commands: parse, call, print; no logic."""

import os

# Else pydantic reads the entry points of every installed package when its first model is made, and one damaged
# package would end the command before it can say anything.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
