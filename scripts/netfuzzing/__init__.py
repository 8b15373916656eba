"""Random nets, what is done with them, and the judgement of what comes out; `scripts/netfuzz.py` is the command."""
