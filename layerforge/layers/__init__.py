"""The layers: one file per derivation, tables for families. Every module here is found by the registry."""
