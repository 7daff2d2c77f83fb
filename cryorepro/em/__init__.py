"""Cryo-EM numerics in torch, one file for one subject; knows no plugin, store or command."""
