"""Translation, for claim D9: sentence pairs at hand on any machine, a small Transformer, and SacreBLEU.

`corpus` finds and splits the pairs, `network` is the model, `runs` trains it, dense or sparse, and scores it.
"""
