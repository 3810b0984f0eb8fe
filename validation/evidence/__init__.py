"""Evidence from training for the paper's experimental claims (D): experiments, their protocol, and what they decide.

`runs` trains one cell, `protocol` says how arms are compared and tuned, `statistics` what numbers say, `verdict` what
a claim gets for them; a file of `experiments` states one claim, its cells, and how its rows decide. `s2sam evidence`
runs them.
"""
