"""How fast this machine is at what cryo-EM does: reading, decoding, transforming, refining."""
