"""Rung 2: exact worst cases for few steps, by semidefinite programming, and the instances that attain bounds.

>>> from theory.worst_case import INSTANCES
>>> sorted({i.claim for i in INSTANCES if i.own and not i.approached and i.claim[0] == "B"})
['B1', "B1'.fstar", 'B3', 'B5.lower', 'B5.s2sam', 'B5.sam', 'B6.distance', 'B7.same-batch']

Instances need the standard library only; `solve` and `rows` need PEPit and CVXPY, of the extra `validation`.
"""

from theory.worst_case import error_instances as error_instances  # fills INSTANCES
from theory.worst_case import limit_instances as limit_instances
from theory.worst_case.beside import beside
from theory.worst_case.grid import cases, default_cases, key, rows
from theory.worst_case.instances import INSTANCES, Instance
from theory.worst_case.problems import PROBLEMS, Case
from theory.worst_case.solve import Solution, WorstCase, judge, maximum, solve

__all__ = [
    "INSTANCES", "PROBLEMS", "Case", "Instance", "Solution", "WorstCase", "beside", "cases", "default_cases", "judge",
    "key", "maximum", "rows", "solve",
]
